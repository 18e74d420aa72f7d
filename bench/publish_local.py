"""Publishing to local storage on one volume, by size: what is spent in fsync, and all the rest (medians).

``python -m bench.publish_local [FOLDER]``: the folder's disk is what is measured (default: the temporary one).
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from downloader.artifacts import Publication, open_store
from downloader.config import Settings

GOAL_MS = 5.0
ROUNDS = 7
SIZES = (1 << 20, 64 << 20, 1 << 30)


def write(path: Path, size: int) -> None:
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for _ in range(size >> 20):
            file.write(block)


def measure(data: Path, size: int) -> tuple[float, float]:
    """Medians in ms: what publishing a fresh file of ``size`` spends in fsync, and what it takes beyond that."""
    store = open_store(Settings(data_dir=data, storage_backend="local"))
    source = data / "jobs" / "benchbench" / "out.mp4"
    source.parent.mkdir(parents=True, exist_ok=True)
    flushes, beyond = [], []
    for turn in range(ROUNDS):
        source.unlink(missing_ok=True)
        write(source, size)
        publication = Publication(job_id=f"bench-{turn:06}", name="Title.mp4", content_type="video/mp4", epoch=1)
        with timed_fsync() as spent:
            started = time.perf_counter()
            store.put(source, publication, progress=lambda _done, _total: None, check=lambda: None)
            took = time.perf_counter() - started
        flushes.append(sum(spent) * 1000)
        beyond.append((took - sum(spent)) * 1000)
        store.delete_job(publication.job_id)
    return statistics.median(flushes), statistics.median(beyond)


@contextmanager
def timed_fsync() -> Iterator[list[float]]:
    """The seconds of each fsync within the block: of the file, its folder, and the folder's folder."""
    spent: list[float] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        started = time.perf_counter()
        real(descriptor)
        spent.append(time.perf_counter() - started)

    os.fsync = fsync
    try:
        yield spent
    finally:
        os.fsync = real


def main() -> int:
    """Print a line per size; 1 when a publish takes 5 ms or more beyond fsync."""
    worst = 0.0
    with tempfile.TemporaryDirectory(prefix="bench-publish-", dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        for size in SIZES:
            flushed, beyond = measure(Path(folder), size)
            worst = max(worst, beyond)
            print(f"{size >> 20:>5} MiB   fsync {flushed:8.2f} ms   beyond it {beyond:6.2f} ms")
    print(f"worst beyond fsync: {worst:.2f} ms (goal: under {GOAL_MS} ms)")
    return int(worst >= GOAL_MS)


if __name__ == "__main__":
    sys.exit(main())
