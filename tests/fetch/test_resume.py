"""Attempts that end in the middle, and those that take up what they left."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from downloader.errors import Draining, LeaseLost
from downloader.fetch import journal, trackfile
from downloader.fetch.trackfile import TrackFile
from tests.fetch.conftest import Bench, video
from tests.fetch.stop import Stop
from tests.fetch.test_sabr import VIDEO, Programme, tracks
from tests.origin import Call, Origin, media_bytes
from tests.waiting import until

SIZE = 6_000_001
DATA = media_bytes(SIZE)


def fetch_half(origin: Origin, bench: Bench, url: str) -> None:
    """An attempt that ends when a good part of the track is on disk."""
    stop = Stop(LeaseLost("The lease is lost."))

    def progress(done: int, _total: int) -> None:
        if done >= SIZE // 2:
            stop.set.set()

    with pytest.raises(LeaseLost):
        bench.fetch(video(url), check=stop.check, progress=progress)


@pytest.fixture
def slow(origin: Origin) -> str:
    return origin.add("/v.mp4", DATA, etag='"one"', rate=2_000_000)


def test_a_later_attempt_moves_only_what_is_missing(origin: Origin, bench: Bench, slow: str) -> None:
    fetch_half(origin, bench, slow)
    bench.epoch = 2
    fetched = bench.fetch(video(slow))
    assert bench.bytes_of(fetched) == DATA
    assert 0 < fetched.bytes_moved <= SIZE * 0.55
    assert len(bench.left()) == 2


def test_a_finished_track_moves_nothing(origin: Origin, bench: Bench) -> None:
    url = origin.add("/v.mp4", DATA)
    bench.fetch(video(url))
    bench.epoch, asked = 2, origin.count()
    fetched = bench.fetch(video(url))
    assert (fetched.bytes_moved, origin.count()) == (0, asked)
    assert bench.bytes_of(fetched) == DATA


@pytest.mark.parametrize("validator", ["etag", "last_modified", "size"])
def test_an_object_that_changed_in_between_is_started_anew(
    origin: Origin, bench: Bench, slow: str, validator: str
) -> None:
    resource = origin.resource("/v.mp4")
    resource.last_modified = "Mon, 01 Jan 2024 00:00:00 GMT"
    if validator != "etag":
        resource.etag = None
    fetch_half(origin, bench, slow)
    resource.body = media_bytes(SIZE + (validator == "size"), 77)
    resource.rate = None
    if validator == "etag":
        resource.etag = '"two"'
    if validator == "last_modified":
        resource.last_modified = "Tue, 02 Jan 2024 00:00:00 GMT"
    bench.epoch = 2
    fetched = bench.fetch(video(slow))
    assert bench.bytes_of(fetched) == resource.body
    assert len(bench.left()) == 2


@pytest.mark.parametrize(
    ("etag", "modified"), [(None, None), ('W/"1"', None), ('W/"1"', "Mon, 01 Jan 2024 00:00:00 GMT")]
)
def test_without_validator_the_seams_are_compared(
    origin: Origin, bench: Bench, slow: str, etag: str | None, modified: str | None
) -> None:
    resource = origin.resource("/v.mp4")
    resource.etag, resource.last_modified = etag, modified
    fetch_half(origin, bench, slow)
    resource.body, resource.rate = media_bytes(SIZE, 77), None
    bench.epoch = 2
    assert bench.bytes_of(bench.fetch(video(slow))) == resource.body


@pytest.mark.parametrize("etag", ['"caf\xe9"', f'"{"a" * 70_000}"'])
def test_a_tag_that_cannot_be_kept_is_none(origin: Origin, bench: Bench, slow: str, etag: str) -> None:
    origin.resource("/v.mp4").etag = etag
    fetch_half(origin, bench, slow)
    bench.epoch = 2
    fetched = bench.fetch(video(slow))
    assert bench.bytes_of(fetched) == DATA
    assert fetched.bytes_moved <= SIZE * 0.55
    assert not any("if-range" in seen.headers for seen in origin.requests)


def test_without_validator_an_equal_object_goes_on(origin: Origin, bench: Bench, slow: str) -> None:
    origin.resource("/v.mp4").etag = None
    fetch_half(origin, bench, slow)
    bench.epoch = 2
    fetched = bench.fetch(video(slow))
    assert bench.bytes_of(fetched) == DATA
    assert fetched.bytes_moved <= SIZE * 0.55


def test_a_disk_that_fails_at_the_end_changes_no_end(
    origin: Origin, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data is being forced to the disk when the job is to end, and only then the disk says that it failed."""
    begun, ended = threading.Semaphore(0), threading.Event()

    def failing(_fd: int) -> None:
        begun.release()
        ended.wait()
        raise OSError(errno.EIO, "I/O error")

    def check() -> None:
        if bench.progress and bench.progress[-1][0] > SIZE and begun.acquire(blocking=False):
            ended.set()
            raise Draining("The worker shuts down.")

    paths = [origin.add(f"/{key}", DATA, etag='"one"', rate=3_000_000) for key in ("video", "audio")]
    found = [video(url, SIZE, key=key) for url, key in zip(paths, ("video", "audio"), strict=True)]
    with monkeypatch.context() as patch:
        patch.setattr(trackfile, "_SYNC_SECONDS", 0.0)
        patch.setattr(os, "fdatasync", failing)
        with pytest.raises(Draining):
            bench.fetch(*found, check=check)
    bench.epoch = 2
    fetched = bench.fetch(*found)
    assert fetched.bytes_moved < SIZE * 1.5
    assert [track.path for track in fetched.tracks] == ["fetch/video.1-0.media", "fetch/audio.1-0.media"]


def test_a_paused_writer_keeps_its_files_to_itself(origin: Origin, bench: Bench, slow: str) -> None:
    fetch_half(origin, bench, slow)
    (journal,) = (bench.work / "fetch").glob("*.journal")
    stale = os.open(journal, os.O_RDWR)
    data = os.open(journal.with_suffix(".media"), os.O_RDWR)
    fcntl.flock(stale, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        bench.epoch = 2
        origin.resource("/v.mp4").rate = None
        fetched = bench.fetch(video(slow))
        os.pwrite(data, b"late" * 1000, 1000)  # the paused process wakes and writes
        assert fetched.tracks[0].path == "fetch/video.2-0.media"
        assert fetched.bytes_moved == SIZE
        assert bench.bytes_of(fetched) == DATA
    finally:
        os.close(stale)
        os.close(data)


def test_an_old_attempt_never_touches_a_newer_ones_files(origin: Origin, bench: Bench, slow: str) -> None:
    bench.epoch = 3
    fetch_half(origin, bench, slow)
    before = bench.left()
    bench.epoch = 2
    origin.resource("/v.mp4").rate = None
    fetched = bench.fetch(video(slow))
    assert fetched.bytes_moved == SIZE
    assert set(before) < set(bench.left())
    bench.epoch = 4
    again = bench.fetch(video(slow))
    assert bench.bytes_of(again) == DATA
    assert again.bytes_moved < SIZE


@pytest.mark.parametrize("state", ["live", "complete", "left"])
def test_an_old_attempt_leaves_what_a_newer_one_took_up(tmp_path: Path, state: str) -> None:
    """The files are called after the attempt that began them, which is older than both."""
    with ThreadPoolExecutor(1) as executor:
        begun = TrackFile(tmp_path, "video", 2, executor)
        os.pwrite(begun.fd, b"x" * 1000, 0)
        begun.done.add(0, 1000)
        begun.close()
        newer = TrackFile(tmp_path, "video", 4, executor)
        assert (newer.path, newer.done.total) == (begun.path, 1000)
        if state == "complete":
            newer.finish(1000)
        if state != "live":
            newer.close()
        older = TrackFile(tmp_path, "video", 3, executor)
        assert (older.path.name, older.done.total) == ("video.3-0.media", 0)
        assert newer.path.read_bytes() == b"x" * 1000
        older.close()
        if state == "live":
            newer.close()


def test_an_attempt_without_a_claim_touches_no_file(origin: Origin, bench: Bench, slow: str) -> None:
    stop = Stop(LeaseLost("The lease is lost."))
    stop.set.set()
    with pytest.raises(LeaseLost):
        bench.fetch(video(slow), check=stop.check)
    assert bench.left() == []


@pytest.mark.parametrize("damage", ["torn", "empty", "rubbish", "short data", "no data"])
def test_a_damaged_journal_costs_bytes_never_correctness(origin: Origin, bench: Bench, slow: str, damage: str) -> None:
    fetch_half(origin, bench, slow)
    (journal,) = (bench.work / "fetch").glob("*.journal")
    media = journal.with_suffix(".media")
    raw = bytearray(journal.read_bytes())
    match damage:
        case "torn":
            raw[80:120] = bytes(40)
            journal.write_bytes(raw)
        case "empty":
            journal.write_bytes(b"")
        case "rubbish":
            journal.write_bytes(os.urandom(len(raw)))
        case "short data":
            os.truncate(media, 1000)
        case _:
            media.unlink()
    bench.epoch = 2
    origin.resource("/v.mp4").rate = None
    assert bench.bytes_of(bench.fetch(video(slow))) == DATA
    assert len(bench.left()) == 2


CHILD = """
import sys
from ipaddress import ip_network
from pathlib import Path
from downloader.config import Settings
from downloader.fetch.engine import Engine
from downloader.fetch.task import Task
from downloader.handoff import Track
work, url, transport, base = Path(sys.argv[1]), *sys.argv[2:]
settings = Settings(data_dir=work, media_allow_networks=(ip_network("127.0.0.0/8"),), typetype_api_base=base)
track = Track(key="video", kind="video", transport=transport, url=url, itag=137, size=20 << 20)
Engine(settings).fetch([track], Task(work=work, epoch=1, check=lambda: None, progress=lambda done, total: None))
"""


def on_disk(bench: Bench) -> int:
    return sum(path.stat().st_blocks * 512 for path in bench.work.rglob("*.media"))


def kill_when(
    bench: Bench, url: str, reached: Callable[[], bool], transport: str = "ranges", base: str = "http://127.0.0.1:1"
) -> None:
    """A process that fetches, killed as soon as that is reached."""
    command = [sys.executable, "-c", CHILD, str(bench.work), url, transport, base]
    child = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        until(reached, 30)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def test_killed_and_resumed_after_the_object_changed(origin: Origin, bench: Bench) -> None:
    url = origin.add("/v.mp4", DATA, etag='"one"', rate=1_000_000)
    kill_when(bench, url, lambda: on_disk(bench) >= SIZE // 2)
    resource = origin.resource("/v.mp4")
    resource.body, resource.etag, resource.rate = media_bytes(SIZE, 77), '"two"', None
    bench.epoch = 2
    assert bench.bytes_of(bench.fetch(video(url))) == resource.body
    assert len(bench.left()) == 2


def noted_aside(bench: Bench) -> int:
    """How many pieces the journal says are whole and wait for their turn."""
    for path in bench.work.rglob("*.journal"):
        with path.open("rb") as file:
            record = journal._newest(file.fileno())
        return len(record.aside) if record else 0
    return 0


def test_killed_between_segments(origin: Origin, bench: Bench) -> None:
    """The third of thirty segments never comes: all others are there, and stay."""
    segments = [b"".join(b"\x47" + media_bytes(187, number) for _ in range(40)) for number in range(30)]
    lines = []
    for number, body in enumerate(segments):
        origin.add(f"/{number}.ts", body, content_type="video/mp2t")
        lines.append(f"#EXTINF:4,\n{number}.ts\n")
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n" + "".join(lines) + "#EXT-X-ENDLIST\n"
    url = origin.add("/a.m3u8", text.encode(), content_type="application/vnd.apple.mpegurl")
    origin.resource("/2.ts").script = lambda call: call.wait(60)
    kill_when(bench, url, lambda: noted_aside(bench) == 27, "hls")
    origin.resource("/2.ts").script = None
    before, bench.epoch = len(origin.requests), 2
    fetched = bench.fetch(video(url, transport="hls"))
    assert bench.bytes_of(fetched) == b"".join(segments)
    assert [seen.path for seen in origin.requests[before:]] == ["/a.m3u8", "/2.ts"]
    assert fetched.bytes_moved == len(segments[2])
    assert len(bench.left()) == 2


def test_killed_between_the_parts_of_sabr(origin: Origin, bench: Bench) -> None:
    """The second of four parts never comes: another process asks for that one alone."""
    programme = Programme(20 << 20)

    def script(call: Call) -> None:
        if call.seen.query["part"] == "1":
            call.wait(60)
        else:
            programme.serve(call)

    url = origin.add("/sabr/download/abc", script=script)
    base = origin.url("")
    kill_when(bench, url, lambda: noted_aside(bench) == 2, "sabr", base)
    origin.resource("/sabr/download/abc").script = programme.serve
    bench.options = {"typetype_api_base": base}
    before, bench.epoch = len(origin.requests), 2
    fetched = bench.fetch(tracks(origin, programme)[0])
    assert bench.bytes_of(fetched) == programme.bodies[VIDEO]
    assert [seen.query["part"] for seen in origin.requests[before:]] == ["1"]
    assert len(bench.left()) == 2


def test_a_process_killed_at_ninety_percent(origin: Origin, bench: Bench) -> None:
    size = 20_000_000
    data = media_bytes(size)
    url = origin.add("/v.mp4", data, etag='"one"', rate=1_500_000)
    kill_when(bench, url, lambda: on_disk(bench) >= size * 0.9)
    origin.resource("/v.mp4").rate = None
    bench.epoch = 2
    fetched = bench.fetch(video(url))
    assert bench.bytes_of(fetched) == data
    assert fetched.bytes_moved <= size * 0.12 + 2_000_000  # what a tenth of a second brings, and a slow machine's more
