"""Remuxing against the ffmpeg command: the same tracks, the same folder, turn by turn; medians.

    python -m bench.mux_copy [--bytes 1000000000] [--runs 7] [--folder /tmp/bench-mux]

Needs Debian's ``ffmpeg`` for the peers. Goals: at most 1.1 times ``ffmpeg -c copy``, and, since our index always comes
first, at most 0.75 times ``ffmpeg -c copy -movflags +faststart``. Every run makes a new file, as a job does. What a
mux and then forcing the file to the disk take together stands beside: a job whose file stays on this disk does that, and
begins to write it while it is made, which is a row of its own.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.mux_media import make_tracks
from downloader.handoff import FetchedTrack, Media, Track
from downloader.mux.engine import Engine
from downloader.mux.order import Order

OURS, EARLY = "ours, index first", "ours, writing early"
COPY, FRONT = "ffmpeg -c copy", "ffmpeg +faststart"
GOALS = {COPY: 1.1, FRONT: 0.75}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=1_000_000_000)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/bench-mux"))  # noqa: S108 - a benchmark's own
    asked = parser.parse_args()
    video, audio = make_tracks(asked.folder, asked.bytes)
    size = video.stat().st_size + audio.stat().st_size
    output = asked.folder / "made.mp4"
    early = order_for(video, audio, output.stem)
    order = msgspec.structs.replace(early, durable=False)
    engine = Engine()
    engine.walls()
    peers: dict[str, Callable[[], object]] = {
        OURS: lambda: engine.run(order, lambda: None, lambda *_: None),
        EARLY: lambda: engine.run(early, lambda: None, lambda *_: None),
    }
    if shutil.which("ffmpeg"):
        peers[COPY] = lambda: ffmpeg(video, audio, output)
        peers[FRONT] = lambda: ffmpeg(video, audio, output, "-movflags", "+faststart")
    else:
        print("ffmpeg is not installed (Debian: ffmpeg): no peers.")
    took: dict[str, list[float]] = {name: [] for name in peers}
    forced: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(asked.runs):
        for name, run in peers.items():
            output.unlink(missing_ok=True)
            os.sync()
            took[name].append(timed(run))
            forced[name].append(timed(lambda: force(output)))
    engine.close()
    output.unlink()
    for name, times in took.items():
        both = statistics.median(a + b for a, b in zip(times, forced[name], strict=True))
        print(
            f"{name:20} {statistics.median(times):5.2f} s ({min(times):.2f} to {max(times):.2f})"
            f"  {size / statistics.median(times) / 1e6:5.0f} MB/s  and on the disk {both:5.2f} s"
        )
    met = [within(took, peer, goal) for peer, goal in GOALS.items() if peer in took]
    return int(not all(met))


def within(took: dict[str, list[float]], peer: str, goal: float) -> bool:
    """Print how ours compares to ``peer``: of the medians, and of the best runs, which noise touches least."""
    ratio = statistics.median(took[OURS]) / statistics.median(took[peer])
    best = min(took[OURS]) / min(took[peer])
    print(f"ours / {peer}: {ratio:.2f} (of the best runs {best:.2f}); goal at most {goal}")
    return ratio <= goal


def order_for(video: Path, audio: Path, stem: str) -> Order:
    """What the stage orders of its child for a job of these two tracks."""
    tracks = tuple(
        FetchedTrack(Track(key=kind, kind=kind, transport="ranges", url=""), path.name, path.stat().st_size, "mp4")
        for kind, path in (("video", video), ("audio", audio))
    )
    media = Media(operation="copy", container="mp4")
    return Order(str(video.parent), stem, tracks, media, output_limit=1 << 40, cpu_limit=3600, durable=True)


def timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def force(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.close(descriptor)


def ffmpeg(video: Path, audio: Path, output: Path, *options: str) -> None:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", str(video), "-i", str(audio), "-c", "copy"]
    subprocess.run([*command, *options, str(output)], check=True)


if __name__ == "__main__":
    sys.exit(main())
