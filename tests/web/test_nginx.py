"""A real nginx in front, by the configuration that docs/storage.md prints: it sends what we point it to."""

import http.client
import re
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from downloader.artifacts.names import file_name
from tests.artifacts.titles import TITLES, saved_as
from tests.service import ROOT
from tests.waiting import until

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed (Debian: nginx-light)")

DOCUMENT = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")
(SNIPPET,) = re.findall(r"```nginx\n(.*?)```", DOCUMENT, flags=re.DOTALL)
(PREFIX,) = re.findall(r"`ACCEL_REDIRECT_PREFIX=([^`]+)`", DOCUMENT)
BYTES = bytes(range(256)) * 4000
AROUND = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ }}
http {{
    access_log off; sendfile on;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
{server}
}}
"""


def changed(text: str, what: str, into: str) -> str:
    """``text`` with the one place where the documentation's machine differs from this one."""
    assert text.count(what) == 1
    return text.replace(what, into)


@contextmanager
def nginx(folder: Path, data: Path, upstream: int):
    """nginx by the documented configuration, in front of port ``upstream``; yields its own port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = changed(SNIPPET, "listen 80;", f"listen 127.0.0.1:{port};")
    server = changed(server, "127.0.0.1:18093", f"127.0.0.1:{upstream}")
    server = changed(server, "/data/artifacts/;", f"{data}/artifacts/;")
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder, server=server))
    # A single process keeps the user it was started as; DATA_DIR is ours alone.
    process = subprocess.Popen(["nginx", "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")])
    try:
        until(lambda: listening(port, process))
        yield port
    finally:
        process.terminate()
        process.wait(10)


def listening(port: int, process) -> bool:
    assert process.poll() is None, "nginx did not start"
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture(scope="module")
def front(shared_environ, rows, tmp_path_factory):
    """Asks nginx for a path; a web server with the documented variable stands behind."""
    from tests.web.server import Server

    folder = tmp_path_factory.mktemp("nginx")
    with (
        Server(shared_environ | {"ACCEL_REDIRECT_PREFIX": PREFIX}) as server,
        nginx(folder, rows.data, server.port) as port,
    ):

        def ask(path, method="GET", **headers):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            try:
                named = {name.replace("_", "-"): value for name, value in headers.items()}
                connection.request(method, path, headers=named)
                answer = connection.getresponse()
                return answer.status, answer.headers, answer.read()
            finally:
                connection.close()

        yield ask


@pytest.mark.parametrize("title", TITLES)
def test_every_title_is_found_and_comes_back_as_the_file_name(front, rows, title):
    name = file_name(title, "mp4")
    status, headers, body = front(f"/jobs/{rows.done(BYTES, name=name)}/artifact")
    assert (status, body) == (200, BYTES)
    assert saved_as(headers) == name
    assert headers["Content-Type"] == "video/mp4"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "private, no-cache"
    assert "X-Accel-Redirect" not in headers
    assert "artifacts-internal" not in str(headers)


def test_ranges_and_conditions(front, rows):
    path = f"/jobs/{rows.done(BYTES)}/artifact"
    status, head, body = front(path, "HEAD")
    assert (status, body, head["Content-Length"]) == (200, b"", str(len(BYTES)))
    status, headers, body = front(path, Range="bytes=1000-1999", If_Range=head["ETag"])
    assert (status, body) == (206, BYTES[1000:2000])
    assert headers["Content-Range"] == f"bytes 1000-1999/{len(BYTES)}"
    assert saved_as(headers) == "clip.mp4"
    assert front(path, Range="bytes=-5")[2] == BYTES[-5:]
    assert front(path, Range="bytes=1000-", If_Range='"another"')[:3:2] == (200, BYTES)
    status, headers, _ = front(path, Range=f"bytes={len(BYTES)}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(BYTES)}")
    assert front(path, If_None_Match=head["ETag"])[:3:2] == (304, b"")
    assert front(f"{path}?download=0", "HEAD")[1]["Content-Disposition"].startswith("inline;")


def test_sidecars(front, rows):
    job_id = rows.done()
    rows.sidecar(job_id, "clip ä?.vtt", b"WEBVTT")
    status, headers, body = front(f"/jobs/{job_id}/files/clip%20%C3%A4%3F.vtt")
    assert (status, body, saved_as(headers)) == (200, b"WEBVTT", "clip ä?.vtt")


def test_what_is_not_there_is_said_by_us(front, rows):
    for path in ("/jobs/0123456789abcdef/artifact", "/elsewhere"):
        status, headers, body = front(path)
        assert (status, headers["Content-Type"]) == (404, "application/json")
        assert b"not_found" in body
    job_id = rows.done()
    (rows.data / "artifacts" / job_id / "clip.mp4").unlink()
    status, _, body = front(f"/jobs/{job_id}/artifact")
    assert (status, b"artifact_missing" in body) == (404, True)


def test_nobody_gets_in_past_us(front, rows):
    job_id = rows.done(b"secret", artifact_expires_at="2026-01-02T03:04:05Z")
    assert front(f"/jobs/{job_id}/artifact")[0] == 410
    (rows.data / "key").write_text("secret")
    for path in (
        f"{PREFIX}/{job_id}/clip.mp4",
        f"{PREFIX}/../key",
        f"{PREFIX}../key",
        f"{PREFIX}/%2e%2e/key",
        f"/jobs/..{PREFIX}/{job_id}/clip.mp4",
        f"/%61{PREFIX[2:]}/{job_id}/clip.mp4",
    ):
        status, _, body = front(path)
        assert (status, b"secret" in body) == (404, False), path
    # Nor by a header of the client's own.
    status, _, body = front("/health", X_Accel_Redirect=f"{PREFIX}/{job_id}/clip.mp4")
    assert (status, b"secret" in body) == (200, False)
