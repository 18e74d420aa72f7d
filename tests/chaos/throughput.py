"""``python -m tests.chaos.throughput``: the same load without faults, under them, and without them once more.

The load is as dense as the service takes it: all jobs are posted at once and worked off. The faults come as often as
sixty kills in three minutes.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from downloader.errors import StoreUnavailable
from tests.chaos.clients import QUICK_KINDS, Clients, Load
from tests.chaos.faults import SHORT, Faults
from tests.chaos.findings import unfinished
from tests.chaos.scene import Scene, scene
from tests.waiting import until

GOAL = 0.7
_PROBE_JOBS = 200
SHORT_SECONDS = 180.0
_LONGEST_SECONDS = 1200.0


def main(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="throughput-") as name, scene(Path(name)) as place:
        work(place, _PROBE_JOBS, 1)
        jobs = round(_PROBE_JOBS / work(place, _PROBE_JOBS, 2) * arguments.seconds)
        before = jobs / work(place, jobs, 3)
        faults = Faults(place, arguments.seed, SHORT, SHORT_SECONDS)
        striking = threading.Thread(target=faults.run, kwargs={"endless": True})
        striking.start()
        stormy = jobs / work(place, jobs, 4)
        faults.stop.set()
        striking.join()
        until(place.service.healthy, 60)
        after = jobs / work(place, jobs, 5)
        ends = Counter(
            row["end"] for row in place.service.rows("SELECT coalesce(error_code, status) AS end FROM downloader_jobs")
        )
    share = stormy / ((before + after) / 2)
    print(f"{jobs} jobs: {before:.1f} jobs/s without faults, {stormy:.1f} under them, {after:.1f} without them again")
    print(
        f"faults: {dict(faults.counts)}, that is a kill every {jobs / stormy / faults.counts['kill']:.1f} s; ends: {dict(ends)}"
    )
    print(f"throughput under faults: {share:.0%} of that without ({'at least' if share >= GOAL else 'NOT'} {GOAL:.0%})")
    return 0 if share >= GOAL else 1


def work(place: Scene, jobs: int, seed: int) -> float:
    """Post so many jobs and wait for the end of the last; how long it took from the first post (seconds)."""
    started = time.monotonic()
    clients = Clients(place, QUICK_KINDS, Load(jobs, clients=6, follows=False), seed)
    clients.run()
    assert not clients.broken, clients.broken
    until(lambda: _done(place), _LONGEST_SECONDS)
    return time.monotonic() - started


def _done(place: Scene) -> bool:
    time.sleep(0.2)  # asking must not be part of the load
    with suppress(StoreUnavailable):
        return place.service.answers() and not unfinished(place)
    return False


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.throughput", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=90.0, help="how long the load shall take without faults")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(parse()))
