"""Fetching finished files: from local disk, behind nginx, and by presigned redirects."""

import hashlib
import os
import threading
from pathlib import Path

import pytest

from downloader.artifacts import PresignedUrl
from downloader.artifacts.names import file_name
from tests.artifacts.titles import TITLES, saved_as
from tests.web.test_jobs import is_error
from web import stored
from web.app import create_app

BYTES = bytes(range(256)) * 20_000
PAST = "2026-01-02T03:04:05Z"


def test_the_whole_file(server, rows):
    job_id = rows.done(BYTES)
    status, headers, body = server.get(f"/jobs/{job_id}/artifact")
    assert (status, body) == (200, BYTES)
    assert headers["Content-Type"] == "video/mp4"
    assert headers["Content-Length"] == str(len(BYTES))
    assert headers["Content-Disposition"] == 'attachment; filename="clip.mp4"'
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["ETag"].startswith('"')
    assert headers["Last-Modified"].endswith("GMT")


def test_resuming_with_if_range(server, rows):
    path = f"/jobs/{rows.done(BYTES)}/artifact"
    _, headers, _ = server.request("HEAD", path)
    status, answer, body = server.get(path, Range="bytes=1000000-", If_Range=headers["ETag"])
    assert (status, body) == (206, BYTES[1_000_000:])
    assert answer["Content-Range"] == f"bytes 1000000-{len(BYTES) - 1}/{len(BYTES)}"
    status, _, body = server.get(path, Range="bytes=1000000-", If_Range='"another"')
    assert (status, body) == (200, BYTES)


def test_a_file_in_parallel_pieces_on_kept_connections(server, rows):
    path = f"/jobs/{rows.done(BYTES)}/artifact"
    connection, pieces, size = server.connect(), [], 700_001
    for start in range(0, len(BYTES), size):
        connection.request("GET", path, headers={"Range": f"bytes={start}-{start + size - 1}"})
        answer = connection.getresponse()
        assert answer.status == 206
        pieces.append(answer.read())
    connection.close()
    assert hashlib.sha256(b"".join(pieces)).digest() == hashlib.sha256(BYTES).digest()


def test_head_not_modified_and_unsatisfiable_share_a_connection(server, rows):
    path = f"/jobs/{rows.done(BYTES)}/artifact"
    connection = server.connect()
    connection.request("HEAD", path)
    head = connection.getresponse()
    assert (head.status, head.read(), head.headers["Content-Length"]) == (200, b"", str(len(BYTES)))
    connection.request("GET", path, headers={"If-None-Match": head.headers["ETag"]})
    same = connection.getresponse()
    assert (same.status, same.read(), same.headers["ETag"]) == (304, b"", head.headers["ETag"])
    connection.request("GET", path, headers={"Range": f"bytes={len(BYTES)}-"})
    beyond = connection.getresponse()
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{len(BYTES)}")
    assert b"range_not_satisfiable" in beyond.read()
    connection.close()


def test_an_empty_file(server, rows):
    status, headers, body = server.get(f"/jobs/{rows.done(b'')}/artifact")
    assert (status, headers["Content-Length"], body) == (200, "0", b"")


def test_a_file_that_shrinks_while_it_is_sent_breaks_the_connection(server, rows):
    job_id = rows.done(b"x" * (64 << 20))
    with server.raw() as client:
        client.sendall(f"GET /jobs/{job_id}/artifact HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        got = len(client.recv(4096))
        os.truncate(rows.data / "artifacts" / job_id / "clip.mp4", 0)
        while piece := client.recv(1 << 20):
            got += len(piece)
    assert got < 64 << 20
    assert server.get("/health")[0] == 200


def test_a_row_of_an_older_service_has_a_type_all_the_same(client, own_rows):
    with client.get(f"/jobs/{own_rows.done(artifact_type='', name='a.webm')}/artifact") as answer:
        assert answer.headers["Content-Type"] == "video/webm"


@pytest.mark.parametrize("accept", ["*/*", "video/mp4", "text/html", "image/*;q=0", ",;=", "x" * 4000, ""])
def test_an_accept_of_every_kind_gets_the_file(client, own_rows, accept):
    headers = {"Accept": accept, "Accept-Encoding": "gzip, br", "Accept-Charset": "utf-7"}
    with client.get(f"/jobs/{own_rows.done()}/artifact", headers=headers) as answer:
        assert (answer.status_code, answer.data, answer.mimetype) == (200, b"media", "video/mp4")
        assert "Content-Encoding" not in answer.headers
    assert is_error(client.get("/jobs/0123456789abcdef/artifact", headers=headers), 404, "not_found")


def test_inline_on_request(client, own_rows):
    job_id = own_rows.done()
    for query, kind in (("?download=0", "inline"), ("?download=1", "attachment"), ("", "attachment")):
        with client.get(f"/jobs/{job_id}/artifact{query}") as answer:
            assert answer.headers["Content-Disposition"].startswith(f"{kind};")


@pytest.mark.parametrize("title", TITLES)
def test_every_title_comes_back_as_the_file_name(client, own_rows, title):
    name = file_name(title, "mp4")
    with client.get(f"/jobs/{own_rows.done(name=name)}/artifact") as answer:
        assert (answer.status_code, answer.data) == (200, b"media")
        assert saved_as(answer.headers) == name


@pytest.mark.parametrize("name", ['a"b\\c.mp4', "a;b%20c.mp4"])
def test_names_stay_in_their_header(client, own_rows, name):
    with client.get(f"/jobs/{own_rows.done(name=name)}/artifact") as answer:
        assert (answer.status_code, answer.data) == (200, b"media")
        assert answer.headers["Content-Disposition"].isascii()


def test_a_name_from_the_database_cannot_inject_a_header(client, own_rows):
    job_id = own_rows.done()
    own_rows.set(job_id, artifact_name='x\r\nSet-Cookie: a=b\r\n\r\n<script>".mp4')
    with client.get(f"/jobs/{job_id}/artifact") as answer:
        assert answer.status_code == 200
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "locator", ["../secret.key", "artifacts/../../secret", "/etc/passwd", "artifacts/x\ny/../../z"]
)
def test_a_locator_from_the_database_cannot_leave_its_folder(client, own_rows, locator):
    job_id = own_rows.done()
    own_rows.set(job_id, artifact=locator)
    assert is_error(client.get(f"/jobs/{job_id}/artifact"), 404, "artifact_missing")


def test_a_symbolic_link_is_no_artifact(client, own_rows, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    job_id = own_rows.done()
    path: Path = own_rows.data / "artifacts" / job_id / "clip.mp4"
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    assert is_error(client.get(f"/jobs/{job_id}/artifact"), 404, "artifact_missing")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"status": "queued"}, "The job has no file yet."),
        ({"status": "running"}, "The job has no file yet."),
        ({"status": "failed", "error_code": "no_stream"}, "The job failed: it has no file."),
        ({"status": "failed", "error_code": "cancelled"}, "The job was cancelled: it has no file."),
    ],
)
def test_a_job_without_its_file(client, own_rows, fields, says):
    answer = client.get(f"/jobs/{own_rows.job(**fields)}/artifact")
    assert is_error(answer, 409, "artifact_not_ready")
    assert answer.get_json()["error"] == says


def test_an_expired_artifact(client, own_rows):
    job_id = own_rows.done(artifact_expires_at=PAST)
    assert is_error(client.get(f"/jobs/{job_id}/artifact"), 410, "artifact_expired")
    assert "artifactUrl" not in client.get(f"/jobs/{job_id}").get_json()


def test_sidecars(client, own_rows):
    job_id = own_rows.done()
    own_rows.sidecar(job_id, "clip ä.vtt", b"WEBVTT")
    [listed] = client.get(f"/jobs/{job_id}").get_json()["sidecars"]
    assert listed["name"] == "clip ä.vtt"
    with client.get(listed["url"].removeprefix("/api/downloader")) as answer:
        assert (answer.status_code, answer.data, answer.mimetype) == (200, b"WEBVTT", "text/vtt")
    for name in ("clip.mp4", "other", "..", "%2e%2e%2fclip.mp4"):
        assert is_error(client.get(f"/jobs/{job_id}/files/{name}"), 404, "not_found")


def test_a_lost_sidecar_leaves_the_artifact(client, own_rows):
    job_id = own_rows.done()
    own_rows.sidecar(job_id, "a.vtt", b"WEBVTT")
    (own_rows.data / "artifacts" / job_id / "a.vtt").unlink()
    assert is_error(client.get(f"/jobs/{job_id}/files/a.vtt"), 404, "artifact_missing")
    with client.get(f"/jobs/{job_id}/artifact") as answer:
        assert answer.status_code == 200


def test_behind_nginx(make_parts, own_rows):
    client = create_app(make_parts(ACCEL_REDIRECT_PREFIX="/protected/")).test_client()
    job_id = own_rows.done(name="ä b?.mp4")
    answer = client.get(f"/jobs/{job_id}/artifact")
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.headers["X-Accel-Redirect"] == f"/protected/{job_id}/%C3%A4%20b%3F.mp4"
    assert answer.headers["Content-Type"] == "video/mp4"


def test_a_disk_that_hangs(parts, own_rows, monkeypatch):
    free = threading.Event()
    monkeypatch.setattr(stored, "LOCATE_SECONDS", 0.01)
    monkeypatch.setattr(parts.artifacts, "locate", lambda *_, **__: free.wait())
    answer = create_app(parts).test_client().get(f"/jobs/{own_rows.done()}/artifact")
    free.set()
    assert is_error(answer, 503, "storage_failed")


@pytest.mark.parametrize("internal", [True, False])
def test_a_presigned_redirect(parts, own_rows, monkeypatch, internal):
    asked = []

    def locate(file: object, *, inline: bool, until: object) -> PresignedUrl:
        asked.append(inline)
        return PresignedUrl("https://s3.example/bucket/key?X-Amz-Signature=abc&x=%20y", internal)

    monkeypatch.setattr(parts.artifacts, "locate", locate)
    client = create_app(parts).test_client()
    answer = client.get(f"/jobs/{own_rows.done()}/artifact?download=0")
    assert (answer.status_code, answer.data, asked) == (302, b"", [True])
    assert answer.headers["Location"] == "https://s3.example/bucket/key?X-Amz-Signature=abc&x=%20y"
    assert answer.headers.get("X-TypeType-Artifact-Proxy") == ("1" if internal else None)
    assert answer.headers["Cache-Control"] == "no-store"
