"""1 GiB from nginx on loopback, 8 connections: ours beside aria2c and curl.

``python -m bench.fetch_loopback [--mebibytes N] [--rounds N] [--folder PATH]``. Ours counts as done when its bytes are
forced to the disk; the peers leave that to the kernel, so each is shown both as it is and with its file forced too.
A folder on tmpfs shows the engines without any disk.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from bench.fetch_rig import MIB, aria2c, curl, goal, median, need, nginx, ours, peer, rounds, table


def main() -> int:
    """Run it; 1 when a goal was missed."""
    parser = argparse.ArgumentParser(prog="bench.fetch_loopback")
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", help="where the downloads go (default: where the served file is)")
    order = parser.parse_args()
    if not need("nginx", "aria2c", "curl", "sync"):
        return 0
    size = order.mebibytes * MIB
    with nginx({"file": size}) as (base, served), tempfile.TemporaryDirectory(dir=order.folder or served) as name:
        url, folder = f"{base}/file", Path(name)
        runs = {
            "ours": lambda: ours(url, folder),
            "aria2c -x8": lambda: peer(aria2c(url), folder),
            "curl": lambda: peer(curl(url), folder),
            "aria2c -x8, forced": lambda: peer(aria2c(url), folder, forced=True),
            "curl, forced": lambda: peer(curl(url), folder, forced=True),
        }
        rounds(runs, 1)  # into the page cache
        results = rounds(runs, order.rounds)
    table(results, size)
    own = median(results["ours"])
    for name in ("aria2c -x8, forced", "curl, forced"):
        print(f"times {name}: {median(results[name]) / own:.2f}")
    met = [
        goal("times aria2c -x8", median(results["aria2c -x8"]) / own, 1.5),
        goal("times curl", median(results["curl"]) / own, 1.2),
        goal(
            "CPU seconds per GiB",
            statistics.median(run.cpu for run in results["ours"]) * 1024 * MIB / size,
            1.6,
            at_most=True,
        ),
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
