"""The whole server as a process: what it makes of bad clients, signals and a supervisor that dies."""

import http.client
import json
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.web.server import PATIENCE, Server

URL = "https://example.com/v"
CHUNKED = "POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def access_log(server: Server) -> list[dict[str, Any]]:
    """The access lines of a server that was terminated."""
    assert server.process.stderr is not None
    server.log = server.process.stderr.read().decode()
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "request"]


def exchange(server: Server, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send raw bytes; the answer to them."""
    with server.raw() as client:
        client.sendall(sent)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        with answer:
            return answer.status, dict(answer.headers), answer.read()


def code(body: bytes) -> str:
    document = json.loads(body)
    assert document["errorCode"] == document["code"]
    assert document["error"]
    return document["code"]


def test_a_job_over_one_kept_connection(server):
    connection = server.connect()
    connection.request("POST", "/jobs", json.dumps({"url": URL}), {"Content-Type": "application/json"})
    job_id = json.loads(connection.getresponse().read())["id"]
    for method, path, expected in (
        ("GET", f"/jobs/{job_id}", 200),
        ("HEAD", f"/jobs/{job_id}", 200),
        ("GET", f"/jobs/{job_id}/artifact", 409),
        ("DELETE", f"/jobs/{job_id}", 409),
        ("POST", f"/jobs/{job_id}/cancel", 202),
        ("POST", f"/jobs/{job_id}/cancel", 409),
        ("DELETE", f"/jobs/{job_id}", 204),
        ("GET", f"/jobs/{job_id}", 404),
        ("OPTIONS", "/jobs", 200),
    ):
        connection.request(method, path)
        answer = connection.getresponse()
        assert (path, answer.status) == (path, expected)
        answer.read()
    connection.close()


def test_a_chunked_body(server):
    status, _, body = exchange(server, CHUNKED.encode() + b'15\r\n{"url":"https://a.b/"\r\n1\r\n}\r\n0\r\n\r\n')
    assert (status, json.loads(body)["cached"]) == (201, False)


def test_a_megabyte_is_refused_as_json(server):
    status, _, body = server.request("POST", "/jobs", b" " * 1_000_000, {"Content-Type": "application/json"})
    assert (status, code(body)) == (413, "body_too_large")
    closing = {"Content-Type": "application/json", "Connection": "close"}
    status, _, body = server.request("POST", "/jobs", b" " * 1_000_000, closing)
    assert (status, code(body)) == (413, "body_too_large")


def test_a_chunked_megabyte_is_refused_as_json(server):
    piece = b"1000\r\n" + b" " * 4096 + b"\r\n"
    status, _, body = exchange(server, CHUNKED.encode() + piece * 256 + b"0\r\n\r\n")
    assert (status, code(body)) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"rubbish\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
        (b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: rubbish\r\n\r\n", 501),
        (CHUNKED.encode() + b"zz\r\n", 400),
        (b"GET /nowhere HTTP/1.1\r\n\r\n", 404),
        (b"GET /jobs/a\r\nb HTTP/1.1\r\n\r\n", 400),
        (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"BREW /jobs HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /jobs/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /jobs/%2e%2e/artifact HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /jobs/a%2fb/artifact HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /jobs/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /jobs/%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    ],
)
def test_malformed_requests_get_json(server_of_module, sent, status):
    found, headers, body = exchange(server_of_module, sent)
    assert (found, headers["Content-Type"]) == (status, "application/json")
    assert code(body)
    assert b"Traceback" not in body


@pytest.fixture(scope="module")
def server_of_module(tmp_path_factory):
    """One server for requests that reach neither Postgres nor Redis."""
    nowhere = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1/0"}
    with Server(nowhere | {"DATA_DIR": str(tmp_path_factory.mktemp("data"))}) as made:
        yield made


def test_a_body_that_ends_early(server_of_module):
    with server_of_module.raw() as client:
        client.sendall(
            b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        client.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        with answer:
            assert (answer.status, code(answer.read())) == (400, "bad_request")


def test_slow_heads_hold_nobody_up(server):
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(b"GET /health HT")
        assert server.get("/health")[0] == 200
        slow.sendall(b"TP/1.1\r\nHost: x\r\n\r\n")
        assert slow.recv(12) == b"HTTP/1.1 200"


def test_a_client_that_never_reads_holds_nobody_up(server, rows):
    job_id = rows.done(b"x" * (32 << 20))
    with ThreadPoolExecutor(8) as pool, server.raw() as deaf:
        deaf.sendall(f"GET /jobs/{job_id}/artifact HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 4)
        assert all(status == 200 for status, _, _ in pool.map(lambda _: server.get(f"/jobs/{job_id}"), range(50)))


def test_sigterm_lets_a_download_finish(serve, own_rows):
    server = serve()
    content = b"x" * (48 << 20)
    job_id = own_rows.done(content)
    connection = server.connect()
    connection.request("GET", f"/jobs/{job_id}/artifact")
    answer = connection.getresponse()
    server.process.terminate()
    assert len(answer.read()) == len(content)
    connection.close()
    assert server.process.wait(PATIENCE) == 0


def test_sigterm_closes_a_kept_connection_without_a_word(serve):
    server = serve()
    connection = server.connect()
    connection.request("GET", "/health")
    connection.getresponse().read()
    assert server.terminate() == 0
    assert connection.sock.recv(1) == b""
    connection.close()
    said = server.process.stderr.read().decode()
    assert "Handling signal: term" in said
    assert "Traceback" not in said


def test_polls_are_logged_when_they_fail_or_when_debugging(serve, own_rows):
    job_id = own_rows.job()
    wanted = [("/health", 200), (f"/jobs/{job_id}", 200), ("/jobs/unknown", 404), (f"/jobs/{job_id}/artifact", 409)]
    for level, logged in (("info", wanted[2:]), ("debug", wanted)):
        server = serve(LOG_LEVEL=level)
        for path, status in wanted:
            assert server.get(path)[0] == status
        assert server.terminate() == 0
        lines = [(line["path"], line["status"]) for line in access_log(server)]
        # While debugging, the harness's own look at /health is there as well.
        assert lines == (logged if level == "info" else [("/health", 200), *logged])


def test_ends_with_whoever_holds_the_lifeline(serve):
    server = serve()
    server.cut()
    assert server.process.wait(PATIENCE) == 0


def test_workers_end_with_a_killed_arbiter(serve):
    server = serve(WEB_WORKERS="2")
    server.process.kill()
    server.process.wait(PATIENCE)
    # The workers hold the other end of standard error until the last of them is gone.
    assert server.process.stderr.read() is not None


def test_two_workers_share_the_work(serve, own_rows):
    server = serve(WEB_WORKERS="2")
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: server.post("/jobs", {"url": URL}), range(32)))
    assert {status for status, _ in answers} == {201}
    assert len({document["id"] for _, document in answers}) == 1
    assert own_rows.run("SELECT count(*) FROM downloader_jobs") == [(1,)]


def test_the_access_log_holds_no_query(serve, own_rows):
    server = serve()
    job_id = own_rows.done()
    server.get(f"/jobs/{job_id}/artifact?download=0&token=s3cret", Authorization="Bearer s3cret", X_Request_ID="r-7")
    server.get("/health")
    assert server.terminate() == 0
    [line] = access_log(server)
    assert "s3cret" not in server.log
    assert line.pop("ms") < 20_000
    del line["timestamp"]
    assert line == {
        "event": "request",
        "level": "info",
        "method": "GET",
        "path": f"/jobs/{job_id}/artifact",
        "status": 200,
        "bytes": 5,
        "request_id": "r-7",
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"WEB_WORKERS": "many"}, "WEB_WORKERS takes"),
        ({"DATABASE_URL": "", "REDIS_URL": ""}, "Error: DATABASE_URL or DB_URL must be set; REDIS_URL, "),
    ],
)
def test_a_wrong_configuration_is_said_and_ends_the_start(changes, said):
    good = {"DATABASE_URL": "postgresql://x@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1/0"}
    command = [sys.executable, "-m", "web"]
    ended = subprocess.run(command, env=good | changes, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_start_that_cannot_succeed_ends(tmp_path):
    (tmp_path / "data").write_bytes(b"not a folder")
    environ = {
        "DATABASE_URL": "postgresql://x@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "DATA_DIR": str(tmp_path / "data"),
    }
    command = [sys.executable, "-m", "web", "--bind", "127.0.0.1:0"]
    ended = subprocess.run(command, env=environ, capture_output=True, check=False, timeout=PATIENCE)
    assert ended.returncode == 3
