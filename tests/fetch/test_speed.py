"""Slow connections among fast ones, caps, budgets, many jobs at once."""

import threading
import time
from dataclasses import replace

import pytest

from downloader.fetch.budget import HostBudget
from downloader.fetch.engine import Engine
from tests.fetch.conftest import Bench, in_thread, settings_for, video
from tests.origin import Call, Origin, media_bytes

DATA = media_bytes(8 << 20)


def test_capped_connections_add_up(origin: Origin, bench: Bench) -> None:
    url = origin.add("/v.mp4", DATA, rate=1_000_000)
    began = time.monotonic()
    assert bench.bytes_of(bench.fetch(video(url))) == DATA
    assert time.monotonic() - began < len(DATA) / 1_000_000 / 4


def test_one_crawling_connection_costs_little(origin: Origin, bench: Bench) -> None:
    def script(call: Call) -> None:
        if call.seen.connection == 3:
            call.resource = type(call.resource)(**(vars(call.resource) | {"rate": 5_000}))
        call.serve()

    url = origin.add("/v.mp4", DATA, etag='"one"', rate=1_000_000, script=script)
    began = time.monotonic()
    fetched = bench.fetch(video(url))
    taken = time.monotonic() - began
    assert bench.bytes_of(fetched) == DATA
    assert taken < len(DATA) / 1_000_000 / 8 * 2.5  # at 5 kB/s its first chunk alone would take 200 s
    assert fetched.bytes_moved <= len(DATA)


def test_equally_slow_connections_are_left_alone(origin: Origin, bench: Bench) -> None:
    seen: list[int] = []

    def script(call: Call) -> None:
        seen.append(call.seen.connection)
        call.serve()

    bench.limits = replace(bench.limits, crawl_after=0.2)
    body = DATA[: 1 << 20]
    url = origin.add("/v.mp4", body, etag='"one"', rate=150_000, script=script)
    bench.options["download_workers"] = 4
    assert bench.bytes_of(bench.fetch(video(url))) == body
    assert len(set(seen)) <= 4 + 2  # what takeovers at the end may open


def test_the_last_connection_is_helped(origin: Origin, bench: Bench) -> None:
    """Every connection but one stalls in its last piece: whoever is free finishes it."""
    body = media_bytes(1 << 20)
    stuck = threading.Event()

    def script(call: Call) -> None:
        if call.span and call.span[0] == 0 and not stuck.is_set():
            stuck.set()
            call.head(206, f"Content-Range: bytes 0-{call.span[1] - 1}/{len(body)}", *call.fields(length=call.span[1]))
            call.body(body[:50_000])
            call.wait(30)
        call.serve()

    bench.limits = type(bench.limits)(tick=0.02)  # patience as in production: only the takeover can be that quick
    url = origin.add("/v.mp4", body, etag='"one"', script=script)
    began = time.monotonic()
    fetched = bench.fetch(video(url))
    assert bench.bytes_of(fetched) == body
    assert fetched.bytes_moved == len(body)
    assert time.monotonic() - began < 5


def test_many_jobs_in_one_process(origin: Origin, bench: Bench) -> None:
    bodies = [media_bytes(300_000 + job, job) for job in range(32)]
    engine = Engine(settings_for(bench.path), bench.limits)
    running = []
    for job, body in enumerate(bodies):
        url = origin.add(f"/{job}.mp4", body, etag=f'"{job}"')
        task = bench.task(work=bench.path / "jobs" / str(job))
        running.append(in_thread(lambda url=url, task=task: engine.fetch([video(url)], task)))
    for job, (thread, found) in enumerate(running):
        thread.join(30)
        path = bench.path / "jobs" / str(job) / found[0].tracks[0].path
        assert path.read_bytes() == bodies[job]
    engine.close()


def test_the_budget_holds_over_all_jobs() -> None:
    budget = HostBudget(8)
    assert [budget.acquire("h:1", 1, 0.0) for _ in range(9)] == [True] * 8 + [False]
    assert not budget.acquire("h:1", 2, 0.0)
    for _ in range(4):
        budget.release("h:1", 1)
    assert [budget.acquire("h:1", 2, 0.0) for _ in range(5)] == [True] * 4 + [False]
    assert budget.acquire("other:1", 2, 0.0)


def test_the_budget_shrinks_when_the_host_complains_and_recovers() -> None:
    budget = HostBudget(8)
    for _ in range(8):
        budget.acquire("h:1", 1, 100.0)
    for _ in range(3):  # as the engine does: the connection that was refused is given back first
        budget.release("h:1", 1)
        budget.blame("h:1", 100.0)
    assert budget.limit("h:1") == 5
    assert not budget.acquire("h:1", 1, 101.0)
    assert budget.acquire("h:1", 1, 120.0)
    assert budget.limit("h:1") == 6


@pytest.mark.parametrize("status", [429, 503])
def test_fewer_connections_after_complaints(origin: Origin, bench: Bench, status: int) -> None:
    live, refused, lock = [0], [0], threading.Lock()

    def script(call: Call) -> None:
        with lock:
            live[0] += 1
            busy = live[0] > 2
            refused[0] += busy
        try:
            call.status(status) if busy else call.serve()
        finally:
            with lock:
                live[0] -= 1

    url = origin.add("/v.mp4", DATA, etag='"one"', rate=4_000_000, script=script)
    assert bench.bytes_of(bench.fetch(video(url))) == DATA
    assert 0 < refused[0] < 12  # of eight connections six at once, and hardly any after
