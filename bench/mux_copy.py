"""Remuxing against the ffmpeg command: the same tracks, the same folder, turn by turn; medians.

    python -m bench.mux_copy [--bytes 1000000000] [--runs 5] [--folder /tmp/bench-mux]

Needs Debian's ``ffmpeg`` for the peers. Figures wanted: at most 1.1 times ``ffmpeg -c copy``, and, since our index always
comes first, at most 0.75 times ``ffmpeg -c copy -movflags +faststart``; at most 200 MB of memory at 10 GB.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench.mux_media import make_tracks
from downloader.handoff import FetchedTrack, Media, Track
from downloader.mux.engine import Engine
from downloader.mux.order import Order


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=1_000_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/bench-mux"))  # noqa: S108 - a benchmark's own
    asked = parser.parse_args()
    video, audio = make_tracks(asked.folder, asked.bytes)
    engine = Engine()
    peak = [0]
    peers: dict[str, Callable[[], object]] = {"ours, index first": lambda: ours(engine, video, audio, peak)}
    if shutil.which("ffmpeg"):
        peers["ffmpeg -c copy"] = lambda: ffmpeg(video, audio)
        peers["ffmpeg +faststart"] = lambda: ffmpeg(video, audio, "-movflags", "+faststart")
    else:
        print("ffmpeg is not installed (Debian: ffmpeg): no peers.")
    took: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(asked.runs):
        for name, run in peers.items():
            os.sync()
            started = time.perf_counter()
            run()
            took[name].append(time.perf_counter() - started)
    engine.close()
    size = video.stat().st_size + audio.stat().st_size
    mine = statistics.median(took["ours, index first"])
    for name, times in took.items():
        median = statistics.median(times)
        print(f"{name:20} {median:6.2f} s  {size / median / 1e6:5.0f} MB/s  ours/{name}: {mine / median:.2f}")
    print(f"peak memory of our process: {peak[0] / 1024:.0f} MB for {size / 1e9:.1f} GB")


def ours(engine: Engine, video: Path, audio: Path, peak: list[int]) -> None:
    tracks = tuple(
        FetchedTrack(Track(key=kind, kind=kind, transport="ranges", url=""), path.name, path.stat().st_size, "mp4")
        for kind, path in (("video", video), ("audio", audio))
    )
    media = Media(operation="copy", container="mp4")
    order = Order(str(video.parent), "ours", tracks, media, output_limit=1 << 40, cpu_limit=3600)
    engine.run(order, lambda: None, lambda *_: note_peak(peak))


def note_peak(peak: list[int]) -> None:
    """The high-water mark (kB) of the largest process of this one's session of children."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "status").read_text()
                if b"downloader.mux.child" in (entry / "cmdline").read_bytes():
                    peak[0] = max(peak[0], int(text.split("VmHWM:")[1].split()[0]))
            except (OSError, IndexError):
                continue


def ffmpeg(video: Path, audio: Path, *options: str) -> None:
    output = video.parent / "peer.mp4"
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", str(video), "-i", str(audio), "-c", "copy"]
    subprocess.run([*command, *options, str(output)], check=True)


if __name__ == "__main__":
    main()
