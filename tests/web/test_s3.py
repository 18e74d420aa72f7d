"""Artifacts on a real S3 server, through a real web server."""

import http.client
import json
import socket
from urllib.parse import urlsplit

import pytest

from downloader.artifacts import Publication, open_store
from downloader.config import load
from tests.swift.server import available, running

NAME = 'Ünïcødé "日本".mp4'
NOWHERE = {
    "S3_ENDPOINT": "127.0.0.1:1",
    "S3_BUCKET": "bucket",
    "S3_ACCESS_KEY": "key",
    "S3_SECRET_KEY": "secret",
}
ON_S3 = {
    "status": "done",
    "stage": "done",
    "storage": "s3",
    "artifact": "artifacts/0123456789abcdef/y.mp4",
    "artifact_name": "y.mp4",
}


@pytest.fixture(scope="module")
def swift(tmp_path_factory):
    if not available():
        pytest.skip("OpenStack Swift is not installed: no real S3 server to test with")
    with running(tmp_path_factory.mktemp("swift") / "server") as server:
        yield server


@pytest.fixture
def variables(swift):
    return {
        "S3_ENDPOINT": swift.endpoint,
        "S3_USE_SSL": "false",
        "S3_REGION": swift.region,
        "S3_BUCKET": swift.bucket,
        "S3_ACCESS_KEY": swift.access_key,
        "S3_SECRET_KEY": swift.secret_key,
    }


@pytest.fixture
def job_id(environ, variables, own_rows, tmp_path):
    """A done job whose artifact lies on S3."""
    store = open_store(load(environ | variables))
    source = tmp_path / "source"
    source.write_bytes(b"media" * 1000)
    job_id = own_rows.job(status="done", stage="done")
    published = store.put(
        source,
        Publication(job_id=job_id, name=NAME, content_type="video/mp4", epoch=1),
        progress=lambda done, total: None,
        check=lambda: None,
    )
    own_rows.set(
        job_id,
        storage="s3",
        artifact=published.locator,
        artifact_name=NAME,
        artifact_size=5000,
        artifact_type="video/mp4",
    )
    yield job_id
    store.delete_job(job_id)
    store.close()


def follow(location: str) -> tuple[http.client.HTTPMessage, bytes]:
    split = urlsplit(location)
    connection = http.client.HTTPConnection(split.netloc, timeout=20)
    try:
        connection.request("GET", f"{split.path}?{split.query}", headers={"Range": "bytes=0-9"})
        answer = connection.getresponse()
        assert answer.status == 206
        return answer.headers, answer.read()
    finally:
        connection.close()


def test_from_redirect_to_bytes_and_to_a_lost_object(serve, environ, variables, job_id):
    server = serve(**variables)
    for query, kind in (("", "attachment"), ("?download=0", "inline")):
        status, headers, body = server.get(f"/jobs/{job_id}/artifact{query}")
        assert (status, body) == (302, b"")
        assert headers["X-TypeType-Artifact-Proxy"] == "1"
        found, content = follow(headers["Location"])
        assert content == b"mediamedia"
        assert found["Content-Type"] == "video/mp4"
        assert found["Content-Disposition"].startswith(f"{kind};")
    assert json.loads(server.get("/health/deep")[2])["checks"]["s3"] == "ok"
    store = open_store(load(environ | variables))
    store.delete_job(job_id)
    store.close()
    status, _, body = server.get(f"/jobs/{job_id}/artifact")
    assert (status, json.loads(body)["errorCode"]) == (404, "artifact_missing")
    assert server.terminate() == 0
    assert "X-Amz" not in server.process.stderr.read().decode()


def test_delete_removes_the_object(serve, environ, variables, job_id, swift):
    server = serve(S3_PUBLIC_ENDPOINT="https://media.example", **variables)
    _, headers, _ = server.get(f"/jobs/{job_id}/artifact")
    assert headers["Location"].startswith("https://media.example/")
    assert "X-TypeType-Artifact-Proxy" not in headers
    assert server.request("DELETE", f"/jobs/{job_id}")[0] == 204
    store = open_store(load(environ | variables))
    assert store.delete_job(job_id) == 0
    store.close()


def test_without_s3(serve, own_rows):
    server = serve(**NOWHERE)
    job_id = own_rows.job(**ON_S3)
    status, headers, body = server.get(f"/jobs/{job_id}/artifact")
    assert (status, json.loads(body)["errorCode"]) == (503, "storage_failed")
    assert int(headers["Retry-After"]) > 0


@pytest.fixture
def silent():
    """An S3 endpoint that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_where_s3_says_nothing_a_file_is_answered_in_time(serve, silent, own_rows):
    server = serve("tests.web.impatient", **NOWHERE | {"S3_ENDPOINT": silent})
    status, headers, body = server.get(f"/jobs/{own_rows.job(**ON_S3)}/artifact")
    assert (status, json.loads(body)["errorCode"]) == (503, "storage_failed")
    assert int(headers["Retry-After"]) > 0


def test_where_s3_says_nothing_a_job_is_deleted_in_time(serve, silent, own_rows):
    server = serve("tests.web.impatient", **NOWHERE | {"S3_ENDPOINT": silent})
    job_id = own_rows.job(**ON_S3)
    assert server.request("DELETE", f"/jobs/{job_id}")[0] == 204
    assert server.get(f"/jobs/{job_id}")[0] == 404


def test_where_s3_says_nothing_an_equal_post_is_answered_in_time(serve, silent, own_rows):
    server = serve("tests.web.impatient", **NOWHERE | {"S3_ENDPOINT": silent})
    _, posted = server.post("/jobs", {"url": "https://example.com/v"})
    started = {"status": "running", "started_at": "2026-01-02T03:04:06Z"}
    own_rows.set(posted["id"], **started)
    own_rows.set(posted["id"], **ON_S3, finished_at="2026-01-02T03:04:16Z")
    assert server.post("/jobs", {"url": "https://example.com/v"}) == (201, {"id": posted["id"], "cached": True})
