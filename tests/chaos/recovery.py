"""``python -m tests.chaos.recovery``: how long until stricken steps run again, over many steps that were at work.

Everything is as in production but for the origin's pace, and for workers that kill themselves where they are asked to:
leases of 15 s, the usual sizes of the pools, private servers.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import redis

from downloader.broker import Broker
from downloader.route import ROUTE
from downloader.store import Store
from tests.chaos.faults import descendants
from tests.chaos.scene import Scene, scene
from tests.chaos.takeovers import Takeovers, figures, rank
from tests.waiting import until

LEASE = {"LEASE_SECONDS": "15"}
# A child that lived shorter than this is restarted with a pause: a program that dies at once is no dead worker.
LIVES_SECONDS = 3.6
LIMITS = {"child": 1.0, "machine": 20.0, "flush": 10.0}


def main(arguments: argparse.Namespace) -> int:
    measures: dict[str, Callable[[Path, int], dict[str, list[float]]]] = {
        "child": children, "machine": machines, "flush": flushes
    }  # fmt: skip
    missed = 0
    for name in arguments.only or measures:
        with tempfile.TemporaryDirectory(prefix="recovery-") as folder:
            found = measures[name](Path(folder), arguments.trials)
        for kind, seconds in found.items():
            within = rank(seconds, 0.99) <= LIMITS[name]
            missed += not within
            print(f"{kind}: {figures(seconds)} ({'within' if within else 'NOT within'} {LIMITS[name]:g} s)", flush=True)
    return 1 if missed else 0


def children(folder: Path, trials: int) -> dict[str, list[float]]:
    """A child dies by SIGKILL with a step just claimed; it was the only process of its stage, or one of two."""
    found: dict[str, list[float]] = {}
    for each, words in ((1, "the only process of its stage"), (2, "one of two")):
        plans = folder / f"plans-{each}"
        plans.mkdir()
        roles = (("tests.chaos.worker", str(plans), "up", str(each)),)
        with scene(folder / str(each), variables=LEASE | {"MAX_CONCURRENT_WORKERS": "2"}, roles=roles) as place:
            seconds = [_one_child(place, plans, list(ROUTE)[n % len(ROUTE)], n) for n in range(trials)]
        found[f"child killed, {words}"] = seconds
    return found


def _one_child(place: Scene, plans: Path, step: str, number: int) -> float:
    """Seconds from the kill, at the boundary after the claim, to the step's next claim."""
    plan = plans / f"{step}.claimed.{number}.new"
    plan.write_text("kill")
    plan.rename(plan.with_suffix(".todo"))
    job_id = place.service.post(place.host.source("short", n=number))
    assert place.service.ended(job_id)["status"] == "done"
    sql = "SELECT epoch, extract(epoch FROM started_at)::float8 AS at FROM downloader_steps WHERE job_id = %(id)s AND name = %(name)s"
    row = place.service.rows(sql, {"id": job_id, "name": step})[0]
    assert row["epoch"] == 2, row
    struck = next(path for path in plans.glob(f"{step}.claimed.*") if path.suffix[1:].isdigit())
    at = struck.stat().st_ctime
    struck.unlink()
    time.sleep(max(0.0, LIVES_SECONDS / len(ROUTE) - (time.time() - at)))
    return float(row["at"]) - at


def machines(folder: Path, trials: int) -> dict[str, list[float]]:
    """A supervisor and all below it die at once, each of their jobs at work."""
    jobs = max(20, trials // 2)
    variables = LEASE | {"MAX_CONCURRENT_WORKERS": str(jobs)}
    found: dict[str, list[float]] = {}
    with scene(folder, variables=variables) as place, Takeovers(place.servers.database_url) as takeovers:
        for words in ("another is started", "another machine lives"):
            ids = [
                place.service.post(place.host.source("small.crawl", n=n, machine=words.replace(" ", "_")))
                for n in range(jobs)
            ]
            until(lambda ids=ids: _running(place, ids) == jobs, 60)
            doomed = place.service.processes[-1]
            if words == "another machine lives":
                for role in ("janitor", "fetch"):
                    place.service.start("stages", role)
            workers = place.service.rows(
                "SELECT DISTINCT split_part(worker, '/', 1) AS w FROM downloader_steps WHERE state = 'running'"
            )
            pids = [doomed.pid, *descendants(doomed.pid)]
            held = takeovers.held(row["w"] for row in workers)
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            takeovers.watch(words, held)
            doomed.wait()
            if words == "another is started":
                place.service.start("stages", "up")
            assert takeovers.settled(60)
            if words == "another is started":
                until(place.service.healthy, 60)
                for job_id in ids:
                    place.service.request("POST", f"/jobs/{job_id}/cancel")
        for words, seconds in takeovers.times.seconds.items():
            found[f"machine dead, {words}"] = seconds
    return found


def _running(place: Scene, ids: list[str]) -> int:
    sql = "SELECT count(*) AS n FROM downloader_steps WHERE name = 'fetch' AND state = 'running' AND job_id = ANY(%(ids)s)"
    return int(place.service.rows(sql, {"ids": ids})[0]["n"])


def flushes(folder: Path, trials: int) -> dict[str, list[float]]:
    """FLUSHALL under a backlog: until each step that was ready has an entry again, or has been claimed."""
    jobs, found = max(100, trials * 2), []
    with scene(folder, variables=LEASE | {"MAX_CONCURRENT_WORKERS": "8"}) as place:
        for number in range(jobs):
            place.service.post(place.host.source("small.slow", n=number))
        store, broker = Store(place.service.database_url), Broker(place.service.redis_url, "downloader:queue")
        for _ in range(10):
            until(lambda: any(due > 20 for due in store.due_counts(2.0).values()), 60)
            before = [entry for stage in ROUTE for entry in store.due(stage, 0.0)]
            with redis.Redis.from_url(place.servers.redis_url) as client:
                client.flushall()
            struck, lost = time.monotonic(), set(before)
            while lost:
                entries = {entry for stage in ROUTE for entry in broker.entries(stage)}
                ready = {entry for stage in ROUTE for entry in store.due(stage, 0.0)}
                moving = {entry for entry in lost if entry in entries or entry not in ready}
                found += [time.monotonic() - struck] * len(moving)
                lost -= moving
                time.sleep(0.02)
        broker.close()
        store.close()
    return {"Redis emptied": found}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.recovery", description=__doc__)
    parser.add_argument("only", nargs="*", choices=[*LIMITS, []], help="what to measure (default: all)")
    parser.add_argument("--trials", type=int, default=100)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(parse()))
