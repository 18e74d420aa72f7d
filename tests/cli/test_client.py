"""The client against servers that are not at their best: real sockets, scripted answers."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from downloader.cli import client
from downloader.cli.client import Refused, Service, Unreachable


class Scripted(BaseHTTPRequestHandler):
    """Answers each path with the next of its scripted answers, the last one again and again; 302 leads to its kind."""

    def do_GET(self):
        answers = self.server.script[self.path]
        status, kind, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.send_header("Location" if status == 302 else "Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, *_):
        pass


@pytest.fixture
def serve(monkeypatch):
    """Starts a server of a script and gives its Service."""
    monkeypatch.setattr(client, "POLL_SECONDS", 0.0)
    started = []

    def start(script):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
        server.script = script
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        started.append((server, thread))
        return Service(f"http://127.0.0.1:{server.server_address[1]}", timeout=5)

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


def job(status, stage="download"):
    return {"id": "a", "status": status, "stage": stage}


def as_json(value, status=200):
    return status, "application/json", json.dumps(value).encode()


def events(*jobs, newline="\n"):
    blocks = [f": keep-alive{newline}{newline}"]
    blocks += [f"event: progress{newline}id: 1{newline}data: {json.dumps(each)}{newline}{newline}" for each in jobs]
    return 200, "text/event-stream", "".join(blocks).encode()


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_events_are_followed_to_the_end(serve, newline):
    service = serve({"/jobs/a/events": [events(job("queued"), job("running"), job("done"), newline=newline)]})
    assert [each["status"] for each in service.follow("a")] == ["queued", "running", "done"]


def test_without_events_it_polls(serve):
    script = {
        "/jobs/a/events": [as_json({"error": "no", "errorCode": "x"}, 500)],
        "/jobs/a": [as_json(job("queued")), as_json(job("running")), as_json(job("failed"))],
    }
    assert [each["status"] for each in serve(script).follow("a")] == ["queued", "running", "failed"]


def test_a_stream_that_breaks_is_taken_up_again(serve):
    script = {
        "/jobs/a/events": [events(job("running")), events(job("running"), job("done"))],
        "/jobs/a": [as_json(job("running"))],
    }
    assert [each["status"] for each in serve(script).follow("a")][-1] == "done"


def test_an_unknown_job_is_refused(serve):
    answer = as_json({"error": "There is no such job.", "errorCode": "not_found"}, 404)
    service = serve({"/jobs/a/events": [answer], "/jobs/a": [answer]})
    with pytest.raises(Refused, match="There is no such job") as caught:
        list(service.follow("a"))
    assert caught.value.code == "not_found"


def test_a_service_that_stays_away_ends_the_following(serve, monkeypatch):
    monkeypatch.setattr(client, "AWAY_SECONDS", 0.0)
    with pytest.raises(Unreachable):
        list(Service("http://127.0.0.1:9").follow("a"))


def test_something_else_on_the_port_is_no_downloader(serve):
    with pytest.raises(Unreachable, match="no downloader"):
        serve({"/health": [(200, "text/html", b"<h1>hello</h1>")]}).health()


def test_an_error_without_a_sentence_still_says_something(serve):
    with pytest.raises(Refused, match="answered 502"):
        serve({"/jobs": [(502, "text/html", b"<h1>Bad Gateway</h1>")]}).post("http://example.com", {})


@pytest.mark.parametrize("job_id", ["../health", "a/b", "a?b"])
def test_an_id_cannot_lead_to_another_path(serve, job_id):
    from urllib.parse import quote

    path = f"/jobs/{quote(job_id, safe='')}"
    answer = as_json({"error": "There is no such job.", "errorCode": "not_found"}, 404)
    with pytest.raises(Refused):
        serve({path: [answer]}).job(job_id)


def test_the_file_is_fetched_from_the_store_that_the_service_names(serve):
    path = "/jobs/a/artifact?download=1"
    store = serve({"/there?signed=1": [(200, "video/mp4", b"film")], "/moved": [(302, "/there?signed=1", b"")]})
    for way in ("/there?signed=1", "/moved"):
        with serve({path: [(302, f"{store.base}{way}", b"")]}).artifact("a") as response:
            assert response.read() == b"film"


def test_a_store_that_cannot_be_reached_is_named(serve):
    service = serve({"/jobs/a/artifact?download=1": [(302, "http://127.0.0.1:9/key?X-Amz-Signature=secret", b"")]})
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9.*S3_PUBLIC_ENDPOINT") as caught:
        service.artifact("a")
    assert "secret" not in str(caught.value)


def test_a_store_that_refuses_is_a_refusal(serve):
    store = serve({"/there": [(403, "application/xml", b"<Error/>")]})
    with pytest.raises(Refused, match="answered 403"):
        serve({"/jobs/a/artifact?download=1": [(302, f"{store.base}/there", b"")]}).artifact("a")
