"""Jobs that end early: cancelled, without their lease, out of time, on a full disk."""

import errno
import signal
import threading
import time
from dataclasses import replace

import pytest

from downloader.errors import Cancelled, DownloadError, InsufficientStorage, LeaseLost, TimedOut
from downloader.fetch import journal
from tests.fetch.conftest import Bench, in_thread, video
from tests.fetch.stop import Stop
from tests.origin import Call, Origin, media_bytes
from tests.waiting import until

SIZE = 6_000_001
DATA = media_bytes(SIZE)


@pytest.mark.parametrize(
    "error", [Cancelled("The job was cancelled."), LeaseLost("The lease is lost.")], ids=["cancelled", "lost"]
)
@pytest.mark.parametrize("transport", ["ranges", "hls", "sabr"])
def test_every_socket_is_closed_within_a_second(
    origin: Origin, bench: Bench, transport: str, error: DownloadError
) -> None:
    def trickle(call: Call) -> None:
        kind = "application/vnd.typetype.sabr-download" if transport == "sabr" else "video/mp4"
        call.head(200, f"Content-Type: {kind}", f"Content-Length: {SIZE}")
        call.raw(b"TTSABR1\n" if transport == "sabr" else DATA[:1000])
        call.sock.recv(1)  # ends when the client hangs up

    bench.limits = type(bench.limits)()  # as patient as in production
    bench.options = {"typetype_api_base": origin.url("")}
    for number in range(20):
        origin.add(f"/{number}.ts", script=trickle)
    lines = "".join(f"#EXTINF:4,\n/{number}.ts\n" for number in range(20))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n{lines}#EXT-X-ENDLIST\n"
    url = origin.add("/a.m3u8", playlist.encode())
    url = url if transport == "hls" else origin.add("/sabr/download/x", script=trickle)
    stop = Stop(error)
    track = video(url, transport=transport, itag=137, size=20 << 20)
    thread, found = in_thread(lambda: bench.fetch(track, check=stop.check, deadline=None))
    until(lambda: origin.count() >= {"ranges": 1, "hls": 9, "sabr": 3}[transport])
    began = time.monotonic()
    stop.set.set()
    until(lambda: not origin.live and not thread.is_alive(), 5)
    assert time.monotonic() - began < 1.0
    assert found == [error]


@pytest.mark.parametrize("kind", ["mid-body", "no head", "connecting", "backing off"])
def test_cancel_ends_every_socket_within_a_second(origin: Origin, bench: Bench, kind: str) -> None:
    gone = threading.Event()

    def hang(call: Call) -> None:
        if kind == "backing off":
            call.status(503, "Retry-After: 60")
            return
        if kind == "mid-body":
            call.head(200, *call.fields(length=SIZE))
            call.raw(DATA[:100_000])
        call.sock.recv(1)  # ends when the client hangs up
        gone.set()

    bench.limits = type(bench.limits)()  # as patient as in production
    url = origin.add("/v.mp4", DATA, script=hang)
    if kind == "connecting":
        url = "http://127.0.0.1:9/"
    stop = Stop()
    thread, found = in_thread(lambda: bench.fetch(video(url), check=stop.check, deadline=None))
    until(lambda: origin.count() or kind == "connecting")
    began = time.monotonic()
    stop.set.set()
    thread.join(5)
    assert time.monotonic() - began < 1.0
    assert isinstance(found[0], Cancelled)
    assert kind not in ("mid-body", "no head") or gone.wait(1.0)


def test_the_jobs_time_is_limited(origin: Origin, bench: Bench) -> None:
    url = origin.add("/v.mp4", DATA, rate=100_000)
    with pytest.raises(TimedOut):
        bench.fetch(video(url), deadline=time.monotonic() + 0.3)


@pytest.mark.parametrize("transport", ["ranges", "hls", "sabr"])
def test_a_job_out_of_time_says_what_failed_last(origin: Origin, bench: Bench, transport: str) -> None:
    bench.limits = replace(bench.limits, attempts=1000)
    bench.options = {"typetype_api_base": origin.url("")}
    url = origin.add("/sabr/download/x", script=lambda call: call.status(503))
    with pytest.raises(TimedOut, match=r"^The job took longer than it may\. The .* \(status 503\)\.$"):
        bench.fetch(video(url, transport=transport, itag=137), deadline=time.monotonic() + 0.5)


def test_a_full_disk_is_said_clearly(origin: Origin, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    url = origin.add("/v.mp4", DATA)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(InsufficientStorage):
            bench.fetch(video(url))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert bench.left() == []


def test_a_disk_that_is_full_for_the_journal_too(origin: Origin, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first answer says about the object cannot be noted: inside curl's callback."""
    write = journal.Journal.write

    def full(self: journal.Journal, record: journal.Record) -> None:
        if record.identity.size is not None:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, record)

    monkeypatch.setattr(journal.Journal, "write", full)
    with pytest.raises(InsufficientStorage):
        bench.fetch(video(origin.add("/v.mp4", DATA)))
    assert origin.count() == 1
