"""``python -m bench [NAME...]``: runs the modules of this folder that have a ``main``, each in a process of its own.

A module prints what it measured, with its peers side by side in the same run, and exits with 1 when a figure misses its
goal. The machine's own noise is measured before and after each, so that a reader knows what a difference is worth.
"""

import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
NOISE_RUNS = 15


def main(names: list[str]) -> int:
    """Run the modules of ``names``, or all, and print which did well; 1 when one did not."""
    found = sorted(path.stem for path in FOLDER.glob("[!_]*.py") if "\ndef main(" in path.read_text(encoding="utf-8"))
    if unknown := set(names) - set(found):
        print(f"bench: there is no {', '.join(sorted(unknown))}; there are {', '.join(found)}", file=sys.stderr)
        return 2
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()} {platform.release()}")
    rows = []
    for name in names or found:
        print(f"\n== {name}", flush=True)
        before, started = noise(), time.monotonic()
        status = subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False, cwd=FOLDER.parent).returncode
        rows.append((name, status, time.monotonic() - started, before, noise()))
    print(f"\n{'bench':<20} {'result':<8} {'took':>8} {'noise before':>14} {'after':>8}")
    for name, status, seconds, before, after in rows:
        print(f"{name:<20} {'missed' if status else 'ok':<8} {seconds:>6.0f} s {before:>14.0%} {after:>8.0%}")
    print("noise: how far equal work spreads here, (p95 - median) / median")
    return int(any(status for _, status, *_ in rows))


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
