"""1 GiB from nginx on loopback, 8 connections: ours beside aria2c and curl.

``python -m bench.fetch_loopback [MEBIBYTES] [ROUNDS]``
"""

import statistics
import sys

from bench.fetch_rig import MIB, aria2c, curl, goal, median, need, nginx, ours, peer, rounds, table


def main(mebibytes: int = 1024, count: int = 5) -> int:
    if not need("nginx", "aria2c", "curl"):
        return 0
    size = mebibytes * MIB
    with nginx({"file": size}) as (base, folder):
        url = f"{base}/file"
        runs = {
            "ours": lambda: ours(url, folder),
            "aria2c -x8": lambda: peer(aria2c(url), folder),
            "curl": lambda: peer(curl(url), folder),
        }
        rounds(runs, 1)  # into the page cache
        results = rounds(runs, count)
    table(results, size)
    cpu = statistics.median(run.cpu for run in results["ours"]) * 1024 / mebibytes
    met = [
        goal("times aria2c", median(results["aria2c -x8"]) / median(results["ours"]), 1.5),
        goal("times curl", median(results["curl"]) / median(results["ours"]), 1.2),
        goal("CPU seconds per GiB", cpu, 1.6, at_most=True),
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
