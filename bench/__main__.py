"""``python -m bench [NAME...]``: runs each module of this folder that has a ``main()`` and prints what it measured.

A module's ``main() -> list[Figure]`` measures with its peers side by side, in the same run. Medians; the machine's own
noise is measured first and last, so that a reader knows what a difference is worth.
"""

import importlib
import os
import pkgutil
import platform
import statistics
import sys
import time

import bench
from bench.figure import Figure

NOISE_RUNS = 15


def main(names: list[str]) -> int:
    """Run the modules of ``names``, or all; 1 when a figure misses its goal or a module fails."""
    found = [item.name for item in pkgutil.iter_modules(bench.__path__) if not item.name.startswith("_")]
    unknown = set(names) - set(found)
    if unknown:
        print(f"bench: there is no {', '.join(sorted(unknown))}; there are {', '.join(found)}", file=sys.stderr)
        return 2
    before = noise()
    figures: list[Figure] = []
    failed = []
    for name in names or found:
        measure = getattr(importlib.import_module(f"bench.{name}"), "main", None)
        if measure is None:
            continue
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            figures += measure()
        except Exception as error:  # noqa: BLE001 - the others are still worth measuring
            failed.append(f"{name}: {type(error).__name__}: {error}")
    show(figures)
    print(f"\n{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()} {platform.release()}")
    print(f"noise of this machine: {before:.0%} before, {noise():.0%} after (spread of equal work, p95 over median)")
    for line in failed:
        print(line, file=sys.stderr)
    return 1 if failed or any(figure.met is False for figure in figures) else 0


def show(figures: list[Figure]) -> None:
    """Print a table: what, how much, the goal, whether it was met."""
    for figure in figures:
        verdict = {True: "met", False: "MISSED", None: ""}[figure.met]
        print(f"{figure.name:<58} {figure.value:>10.4g} {figure.unit:<8} {figure.goal:<14} {verdict:<7} {figure.note}")


def noise() -> float:
    """How far equal work spreads on this machine now: (p95 - median) / median of a fixed computation."""
    times = []
    for _ in range(NOISE_RUNS):
        started = time.perf_counter()
        sum(number * number for number in range(300_000))
        times.append(time.perf_counter() - started)
    median = statistics.median(times)
    return (statistics.quantiles(times, n=20)[-1] - median) / median


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
