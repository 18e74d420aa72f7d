"""Links that expire or are refused: resolved again, or taken from TypeType-Server's proxy."""

import threading
import time
from pathlib import Path

import pytest

from downloader.errors import SourceForbidden, SourceGone
from downloader.fetch.engine import Engine
from tests.fetch.conftest import Bench, in_thread, settings_for, video
from tests.origin import Call, Origin, faults, media_bytes

SIZE = 3_200_003
DATA = media_bytes(SIZE)


@pytest.mark.parametrize("status", [403, 410])
def test_an_expired_link_goes_on_with_a_fresh_one(origin: Origin, bench: Bench, status: int) -> None:
    old = origin.add("/old.mp4", DATA, etag='"one"', script=faults.after(2, faults.BY_NAME[str(status)]))
    new = origin.add("/new.mp4", DATA, etag='"one"')
    asked: list[str] = []

    def refresh(track: object) -> object:
        asked.append("once")
        return video(new, SIZE)

    fetched = bench.fetch(video(old, SIZE), refresh=refresh)
    assert bench.bytes_of(fetched) == DATA
    assert asked == ["once"]
    assert fetched.bytes_moved == SIZE


def test_slow_links_hold_no_other_job_up(origin: Origin, bench: Bench, tmp_path: Path) -> None:
    """Eight tracks of one job wait for fresh links; another job's track is finished meanwhile."""
    engine = Engine(settings_for(tmp_path), bench.limits)
    asked, answer = threading.Semaphore(0), threading.Event()

    def refresh(_track: object) -> None:
        asked.release()
        answer.wait(20)

    gone = origin.add("/gone", script=lambda call: call.status(403))
    waiting = [video(gone, 100, key=f"sub-{number}", optional=True) for number in range(8)]
    other = Bench(tmp_path / "other")
    thread, found = in_thread(lambda: engine.fetch(waiting, bench.task(refresh=refresh)))
    try:
        for _ in waiting:
            assert asked.acquire(timeout=10)
        engine.fetch([video(origin.add("/v.mp4", DATA), SIZE)], other.task(deadline=time.monotonic() + 10))
        assert found == []
    finally:
        answer.set()
        thread.join()
        engine.close()


def test_a_fresh_link_to_another_object_starts_anew(origin: Origin, bench: Bench) -> None:
    other = media_bytes(SIZE - 100, 3)
    old = origin.add("/old.mp4", DATA, script=faults.after(2, faults.BY_NAME["403"]))
    new = origin.add("/new.mp4", other)
    assert bench.bytes_of(bench.fetch(video(old, SIZE), refresh=lambda _track: video(new, len(other)))) == other


@pytest.mark.parametrize(("status", "error"), [(403, SourceForbidden), (410, SourceGone)])
def test_no_fresh_link_to_be_had(origin: Origin, bench: Bench, status: int, error: type[Exception]) -> None:
    old = origin.add("/old.mp4", DATA, script=faults.after(2, faults.BY_NAME[str(status)]))
    with pytest.raises(error):
        bench.fetch(video(old, SIZE), refresh=lambda _track: None)
    assert bench.left() == []


@pytest.mark.parametrize("fault", ["403", "404", "without_length", "page"])
def test_the_proxy_serves_what_the_host_does_not(origin: Origin, bench: Bench, fault: str) -> None:
    bench.options = {"typetype_api_base": origin.url("/api")}
    origin.add("/api/proxy", DATA)
    track = video(origin.add("/v.mp4", DATA) + f"?fault={fault}", proxy_url=origin.url("/api/proxy?url=x"))
    assert bench.bytes_of(bench.fetch(track, authorization="Bearer me")) == DATA
    sent = {seen.path: seen.headers.get("authorization") for seen in origin.requests}
    assert sent == {"/v.mp4": None, "/api/proxy": "Bearer me"}


def test_the_proxy_is_asked_for_the_fresh_link(origin: Origin, bench: Bench) -> None:
    bench.options = {"typetype_api_base": origin.url("")}

    def script(call: Call) -> None:
        call.serve() if call.seen.query["url"] == "fresh" else call.status(403)

    origin.add("/proxy", DATA, script=script)
    old, new = (
        video(origin.url(f"/{name}.mp4?fault=403"), SIZE, proxy_url=origin.url(f"/proxy?url={name}"))
        for name in ("stale", "fresh")
    )
    for name in ("stale", "fresh"):
        origin.add(f"/{name}.mp4", DATA)
    assert bench.bytes_of(bench.fetch(old, refresh=lambda _track: new)) == DATA
    assert {seen.query["url"] for seen in origin.requests if seen.path == "/proxy"} == {"fresh"}
