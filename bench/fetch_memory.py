"""Memory of one job from a small to a huge file (a hole on the server), and 32 jobs at once in one process.

``python -m bench.fetch_memory [--gibibytes N]``: the huge file's size. It is written to disk in full and removed again,
so the folder for temporary files needs that much room; 32 jobs of 64 MiB each need 2 GiB.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import threading
import time
from ipaddress import ip_network
from pathlib import Path

from bench.fetch_rig import MIB, ROOT, goal, need, nginx, ours
from downloader.config import Settings
from downloader.fetch.engine import Engine
from downloader.fetch.task import Task
from downloader.handoff import Track

JOBS = 32
EACH = 64 * MIB


def many(base: str, folder: Path) -> None:
    """Fetch ``JOBS`` files at once and print what came of it; runs in a process of its own."""
    engine = Engine(Settings(data_dir=folder, media_allow_networks=(ip_network("127.0.0.0/8"),)))
    sizes: list[int] = []

    def run(job: int) -> None:
        task = Task(work=folder / f"job{job}", epoch=1, check=lambda: None, progress=lambda _done, _total: None)
        track = Track(key="video", kind="video", transport="ranges", url=f"{base}/each")
        sizes.append(engine.fetch([track], task).tracks[0].size)

    idle, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    threads = [threading.Thread(target=run, args=(job,)) for job in range(JOBS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, usage = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF)
    engine.close()
    print(json.dumps({"whole": sizes.count(EACH), "seconds": seconds, "grown": (usage.ru_maxrss - idle) / 1024}))


def main() -> int:
    """Run it; 1 when a goal was missed."""
    parser = argparse.ArgumentParser(prog="bench.fetch_memory")
    parser.add_argument("--gibibytes", type=int, default=20)
    parser.add_argument("--many", nargs=2, help=argparse.SUPPRESS)
    order = parser.parse_args()
    if order.many:
        many(order.many[0], Path(order.many[1]))
        return 0
    if not need("nginx"):
        return 0
    huge = order.gibibytes * 1024 * MIB
    met = []
    with nginx({"small": 10 * MIB, "each": EACH, "huge": -huge}) as (base, folder):
        files = {"10 MiB": ("small", 10 * MIB)}
        if shutil.disk_usage(folder).free > huge * 1.1:
            files[f"{order.gibibytes} GiB"] = ("huge", huge)
        else:
            print(f"skipped: no room for {order.gibibytes} GiB in {folder.parent}")
        for name, (file, size) in files.items():
            run = ours(f"{base}/{file}", folder)
            print(f"{name}: {run.seconds:.2f} s, {size / run.seconds / 1e6:.0f} MB/s, CPU {run.cpu:.1f} s")
            met.append(goal(f"MiB above idle for {name}", (run.rss - run.idle) / MIB, 64, at_most=True))
        command = [sys.executable, "-m", "bench.fetch_memory", "--many", base, str(folder)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
        found = json.loads(done.stdout)
    rate = JOBS * EACH / found["seconds"] / 1e6
    print(f"{JOBS} jobs of {EACH // MIB} MiB at once: {found['seconds']:.2f} s, {rate:.0f} MB/s")
    met += [
        goal(f"of {JOBS} jobs at once, whole", found["whole"], JOBS),
        goal("MiB above idle for each of them", found["grown"] / JOBS, 64, at_most=True),
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
