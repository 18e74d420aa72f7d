"""Memory of one job from a small to a huge file (a hole on the server), and 32 jobs at once in one process.

``python -m bench.fetch_memory [GIBIBYTES]``: the huge file's size; it is written to disk once.
"""

import sys
import threading
from ipaddress import ip_network
from pathlib import Path

from bench.fetch_rig import MIB, goal, need, nginx, ours
from downloader.config import Settings
from downloader.fetch.engine import Engine
from downloader.fetch.task import Task
from downloader.handoff import Track

JOBS = 32


def many(base: str, folder: Path) -> float:
    """The share of 32 jobs at once that ended well."""
    settings = Settings(data_dir=folder, media_allow_networks=(ip_network("127.0.0.0/8"),))
    engine = Engine(settings)
    sizes: list[int] = []

    def run(job: int) -> None:
        task = Task(work=folder / f"job{job}", epoch=1, check=lambda: None, progress=lambda _done, _total: None)
        track = Track(key="video", kind="video", transport="ranges", url=f"{base}/small")
        sizes.append(engine.fetch([track], task).tracks[0].size)

    threads = [threading.Thread(target=run, args=(job,)) for job in range(JOBS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.close()
    return sizes.count(10 * MIB) / JOBS


def main(gibibytes: int = 20) -> int:
    if not need("nginx"):
        return 0
    with nginx({"small": 10 * MIB, "huge": -gibibytes * 1024 * MIB}) as (base, folder):
        small, huge = ours(f"{base}/small", folder), ours(f"{base}/huge", folder)
        share = many(base, folder)
    rate = gibibytes * 1024 * MIB / huge.seconds / 1e6
    print(
        f"10 MiB: {(small.rss - small.idle) / MIB:.1f} MiB above idle; {gibibytes} GiB: {(huge.rss - huge.idle) / MIB:.1f} MiB"
    )
    print(f"{gibibytes} GiB took {huge.seconds:.1f} s ({rate:.0f} MB/s)")
    met = [
        goal("MiB above idle for the huge file", (huge.rss - huge.idle) / MIB, 64, at_most=True),
        goal("share of 32 jobs at once that ended well", share, 1.0),
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
