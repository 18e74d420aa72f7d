"""One connection in eight at 1/200 of the others' speed: the time with it over the time without, ours and aria2c's.

``python -m bench.fetch_crawl [MEBIBYTES] [ROUNDS]``. Every eighth connection that the host accepts crawls.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from bench.fetch_rig import MIB, aria2c, goal, median, need, ours, peer, rounds, table
from tests.origin import Call, Origin, media_bytes

RATE = 2_000_000  # bytes per second and connection
CRAWL = RATE / 200


def crawling(call: Call) -> None:
    if call.seen.connection % 8 == 3:
        call.resource = replace(call.resource, rate=CRAWL)
    call.serve()


def main(mebibytes: int = 64, count: int = 5) -> int:
    if not need("aria2c"):
        return 0
    size = mebibytes * MIB
    body = media_bytes(size)
    with Origin() as origin, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        even = origin.add("/even", body, rate=RATE)
        crawl = origin.add("/crawl", body, rate=RATE, script=crawling)
        results = rounds(
            {
                "ours": lambda: ours(even, folder),
                "ours, crawl": lambda: ours(crawl, folder),
                "aria2c": lambda: peer(aria2c(even), folder),
            },
            count,
        )
        results |= rounds({"aria2c, crawl": lambda: peer(aria2c(crawl), folder)}, 1)
    table(results, size)
    print(f"aria2c: {median(results['aria2c, crawl']) / median(results['aria2c']):.2f} times (one run with the crawl)")
    ratio = median(results["ours, crawl"]) / median(results["ours"])
    return 0 if goal("times the time without a crawling connection", ratio, 1.2, at_most=True) else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
