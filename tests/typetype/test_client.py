import json
import threading
import time

import pytest

from downloader.errors import Cancelled, ExtractionFailed, UpstreamUnavailable
from downloader.typetype import client as client_module
from downloader.typetype.client import Client, endpoint
from downloader.typetype.offer import Offer
from tests.typetype.conftest import HOLD, Scripted, reply

GOOD = json.dumps({"title": "A title", "duration": 5, "videoOnlyStreams": []}).encode()


class StillClock:
    """Time that passes only when someone sleeps."""

    def __init__(self) -> None:
        self.time = 100.0
        self.slept: list[float] = []

    def now(self):
        raise NotImplementedError

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


def ask(server: Scripted, clock: StillClock | None = None, **given: str | None) -> Offer:
    client = Client(server.base, clock or StillClock(), rng=lambda: 0.5)
    wanted = {"authorization": None, "request_id": None} | given
    try:
        return client.streams("https://example.test/a b?c=d&e", check=lambda: None, **wanted)
    finally:
        client.close()


def test_asks_with_the_callers_headers_and_the_url_escaped(server):
    server.answers = [reply(200, GOOD)]
    assert ask(server, authorization="Bearer secret", request_id="r-1").title == "A title"
    head = server.heads[0]
    assert head.startswith("GET /streams?url=https%3A%2F%2Fexample.test%2Fa%20b%3Fc%3Dd%26e HTTP/1.1\r\n")
    assert "Authorization: Bearer secret\r\n" in head
    assert "X-Request-ID: r-1\r\n" in head


def test_leaves_out_a_header_that_would_smuggle_in_another(server):
    server.answers = [reply(200, GOOD)]
    ask(server, authorization="Bearer x\r\nEvil: 1", request_id=None)
    assert "Evil" not in server.heads[0]
    assert "Authorization" not in server.heads[0]


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://www.youtube.com/watch?v=a", "/streams/youtube/sabr"),
        ("https://youtu.be/a", "/streams/youtube/sabr"),
        ("https://WWW.YouTube-NoCookie.com./embed/a", "/streams/youtube/sabr"),
        ("https://notyoutube.com/a", "/streams"),
        ("https://youtube.com.example.test/a", "/streams"),
        ("https://example.test/?u=youtube.com", "/streams"),
    ],
)
def test_youtube_goes_through_sabr(url, path):
    assert endpoint(url) == path


def test_keeps_its_connection_warm(server):
    server.answers = [reply(200, GOOD)]
    client = Client(server.base, StillClock())
    for _ in range(5):
        client.streams("https://e.test/", authorization=None, request_id=None, check=lambda: None)
    client.close()
    assert (server.connections, len(server.heads)) == (1, 5)


def test_a_warm_connection_that_the_server_has_closed_is_replaced(server):
    server.answers, server.close_after_each = [reply(200, GOOD)], True
    client = Client(server.base, StillClock())
    for _ in range(3):
        client.streams("https://e.test/", authorization=None, request_id=None, check=lambda: None)
    client.close()
    assert (server.connections, len(server.heads)) == (3, 3)


def test_ignores_proxies_of_the_environment(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    server.answers = [reply(200, GOOD)]
    assert ask(server).title == "A title"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422])
def test_a_refusal_is_final_and_in_the_servers_words(server, status):
    server.answers = [reply(status, json.dumps({"error": "This video is private."}).encode())]
    with pytest.raises(ExtractionFailed, match=r"^This video is private\.$"):
        ask(server)
    assert len(server.heads) == 1


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"message": "Gone.", "error": null}', "Gone."),
        (b"plain\r\nwords\x00here", "plain words here"),
        (b'{"error": "see https://h.test/a?token=1 now"}', "see https://h.test/a now"),
        (b'{"error": "' + b"x" * 1_000_000 + b'"}', "x" * 300),
        (b"<html><body>no</body></html>", "TypeType-Server refuses this source (status 403)"),
        (b'{"error": {"deep": 1}}', "TypeType-Server refuses this source (status 403)"),
        (b"[" * 100_000, "TypeType-Server refuses this source (status 403)"),
        (b"", "TypeType-Server refuses this source (status 403)"),
    ],
)
def test_a_refusals_sentence_is_cleaned_and_bounded(server, body, sentence):
    server.answers = [reply(403, body)]
    with pytest.raises(ExtractionFailed) as caught:
        ask(server)
    assert caught.value.message == sentence


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_tries_again_when_the_server_is_overloaded(server, status):
    server.answers = [reply(status), reply(status), reply(200, GOOD)]
    assert ask(server).title == "A title"
    assert len(server.heads) == 3


def test_gives_up_after_three_tries(server):
    server.answers = [reply(503)]
    with pytest.raises(UpstreamUnavailable, match=r"not available \(status 503\)"):
        ask(server)
    assert len(server.heads) == 3


def test_waits_as_long_as_it_is_told(server):
    clock = StillClock()
    server.answers = [reply(429, Retry_After="4"), reply(200, GOOD)]
    ask(server, clock)
    assert sum(clock.slept) == pytest.approx(4)


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [
        ("120", 120.0),
        ("99999999999999999999", 300.0),
        ("Wed, 21 Oct 2026 07:29:00 GMT", 60.0),
        ("Wed, 21 Oct 2099 07:29:00 GMT", 300.0),
    ],
)
def test_hands_a_long_wait_to_the_runner(server, retry_after, expected):
    server.answers = [reply(503, Retry_After=retry_after, Date="Wed, 21 Oct 2026 07:28:00 GMT")]
    with pytest.raises(UpstreamUnavailable) as caught:
        ask(server)
    assert caught.value.retry_after == expected
    assert len(server.heads) == 1


@pytest.mark.parametrize("retry_after", ["soon", "-5", "٣", "", "Wed, 99 Oct 2026"])
def test_a_retry_after_that_means_nothing_is_ignored(server, retry_after):
    server.answers = [reply(503, Retry_After=retry_after.encode().decode("latin-1")), reply(200, GOOD)]
    assert ask(server).title == "A title"


@pytest.mark.parametrize(
    "answer",
    [None, b"rubbish\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
    ids=["closed", "not-http", "bad-chunk"],
)
def test_a_broken_answer_is_tried_again(server, answer):
    server.answers = [answer, reply(200, GOOD)]
    assert ask(server).title == "A title"
    assert len(server.heads) == 2


def test_nobody_listens():
    client = Client("http://127.0.0.1:1", StillClock(), rng=lambda: 0.5)
    with pytest.raises(UpstreamUnavailable, match="connection is refused"):
        client.streams("https://e.test/", authorization=None, request_id=None, check=lambda: None)


@pytest.mark.parametrize("body", [b"", b"not json", b"<html>", b"\xff\xfe", b"[]", b'"x"', b"[" * 100_000])
def test_what_is_not_an_answer_is_extraction_failed(server, body):
    server.answers = [reply(200, body)]
    with pytest.raises(ExtractionFailed, match="TypeType-Server"):
        ask(server)
    assert len(server.heads) == 1


def test_does_not_follow_redirects(server):
    server.answers = [reply(302, Location="http://127.0.0.1:1/")]
    with pytest.raises(ExtractionFailed, match="redirects"):
        ask(server)


def test_reads_no_more_than_the_limit(server, monkeypatch):
    monkeypatch.setattr(client_module, "MAX_ANSWER_BYTES", 1 << 20)
    server.answers = [reply(200, b" " * (2 << 20))]
    with pytest.raises(ExtractionFailed, match="more than 1 MiB"):
        ask(server)


def test_reads_no_endless_headers(server):
    server.answers = [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n"]
    with pytest.raises((ExtractionFailed, UpstreamUnavailable)):
        ask(server)


@pytest.mark.parametrize("answer", [HOLD, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"], ids=["head", "body"])
def test_a_cancel_ends_the_waiting_within_a_second(server, answer):
    server.answers = [answer]
    cancelled: list[float] = []

    def check() -> None:
        if server.asked.is_set():
            cancelled.append(time.monotonic())
            raise Cancelled("The job was cancelled.")

    client = Client(server.base, StillClock())
    with pytest.raises(Cancelled):
        client.streams("https://e.test/", authorization=None, request_id=None, check=check)
    assert time.monotonic() - cancelled[0] < 1
    client.close()


def test_a_cancel_ends_the_pause_between_tries(server):
    server.answers = [reply(503, Retry_After="9")]
    clock, calls = StillClock(), []

    def check() -> None:
        calls.append(clock.time)
        if clock.slept:
            raise Cancelled("The job was cancelled.")

    with pytest.raises(Cancelled):
        Client(server.base, clock).streams("https://e.test/", authorization=None, request_id=None, check=check)
    assert sum(clock.slept) < 0.5


def test_a_silent_server_is_given_up_in_time(server, monkeypatch):
    monkeypatch.setattr(client_module, "TOTAL_SECONDS", 0.3)
    server.answers = [HOLD]
    before = time.monotonic()
    with pytest.raises(UpstreamUnavailable, match="did not answer in time"):
        ask(server)
    assert time.monotonic() - before < 5


def test_threads_share_a_client(server):
    server.answers = [reply(200, GOOD)]
    client = Client(server.base, StillClock())
    titles: list[str] = []
    source = "https://e.test/"

    def run() -> None:
        for _ in range(20):
            offer = client.streams(source, authorization=None, request_id=None, check=lambda: None)
            titles.append(offer.title)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    client.close()
    assert titles == ["A title"] * 80
    assert server.connections <= 4
