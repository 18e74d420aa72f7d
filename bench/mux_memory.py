"""The memory of a contained muxer at work on a large input: the most that any of its processes ever had resident.

    python -m bench.mux_memory [--bytes 10000000000] [--folder /tmp/bench-mux-memory]

Makes the input, muxes it once and removes both: needs free disk of twice the size. Goal: at most 200 MB.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from bench.mux_copy import order_for
from bench.mux_media import make_tracks
from downloader.mux.engine import Engine

GOAL = 200_000_000
SPARE = 2 << 30  # bytes to leave free


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=10_000_000_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "bench-mux-memory")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(asked.folder).free
    if free < 2 * asked.bytes + SPARE:
        print(f"Too little disk: {free / 1e9:.0f} GB free, {(2 * asked.bytes + SPARE) / 1e9:.0f} GB needed. Not run.")
        return 0
    try:
        peak, size, made, seconds = measured(asked.folder, asked.bytes)
    finally:
        shutil.rmtree(asked.folder)
    print(f"{size / 1e9:.1f} GB in, {made / 1e9:.1f} GB out in {seconds:.1f} s: at most {peak / 1e6:.0f} MB resident")
    return int(peak > GOAL)


def measured(folder: Path, size: int) -> tuple[int, int, int, float]:
    """Peak memory, bytes in, bytes out, seconds."""
    video, audio = make_tracks(folder, size)
    peak = [0]
    engine = Engine()
    started = time.perf_counter()
    done = engine.run(order_for(video, audio, "made"), lambda: note_peak(peak), lambda *_: None)
    seconds = time.perf_counter() - started
    engine.close()
    return peak[0], video.stat().st_size + audio.stat().st_size, done.main.size, seconds


def note_peak(peak: list[int]) -> None:
    """Keep the highest high-water mark (bytes) of all processes of contained muxers."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if b"downloader.mux.child" in (entry / "cmdline").read_bytes():
                    kilobytes = int((entry / "status").read_text().split("VmHWM:")[1].split()[0])
                    peak[0] = max(peak[0], kilobytes << 10)
            except (OSError, IndexError):
                continue


if __name__ == "__main__":
    sys.exit(main())
