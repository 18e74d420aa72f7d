"""Every connection capped at 300 kB/s: 8 connections beside one, and aria2c's eight.

``python -m bench.fetch_capped [MEBIBYTES] [ROUNDS]``. One connection is measured on an eighth of the bytes.
"""

import sys
import tempfile
from pathlib import Path

from bench.fetch_rig import MIB, aria2c, goal, median, need, ours, peer, rounds, table
from tests.origin import Origin, media_bytes

RATE = 300_000  # bytes per second and connection


def main(mebibytes: int = 10, count: int = 5) -> int:
    if not need("aria2c"):
        return 0
    size = mebibytes * MIB
    body = media_bytes(size)
    with Origin() as origin, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole, eighth = origin.add("/whole", body, rate=RATE), origin.add("/eighth", body[: size // 8], rate=RATE)
        results = rounds(
            {
                "ours, 8": lambda: ours(whole, folder),
                "aria2c -x8": lambda: peer(aria2c(whole), folder),
                "ours, 1": lambda: ours(eighth, folder, workers=1),
            },
            count,
        )
    single = median(results["ours, 1"]) * 8
    table(results, size)
    print(f"(one connection had an eighth of the bytes: {single:.1f} s for the whole)")
    return 0 if goal("times one connection", single / median(results["ours, 8"]), 7.5) else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
