"""What muxing adds to a small job: order in, checked file out, by a warm child; medians of milliseconds.

    python -m bench.mux_latency [--runs 30]

Figures wanted: 10 ms for a job of 1 MB, 80 ms for a clip of 20 s.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from downloader.handoff import FetchedTrack, Media, Track
from downloader.mux.engine import Engine
from downloader.mux.order import Order
from tests.media import make_audio, make_video

CLIPS = {"8 s, 1 job of about 1 MB": 8, "clip of 20 s": 20, "clip of 60 s": 60}
GOALS = {8: 10.0, 20: 80.0}  # milliseconds at the median


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    runs = parser.parse_args().runs
    engine = Engine()
    engine.walls()
    met = True
    with tempfile.TemporaryDirectory() as folder:
        for name, seconds in CLIPS.items():
            order, size = clip(Path(folder), seconds)
            times = [timed(engine, order) for _ in range(runs)]
            middle, worst = statistics.median(times), max(times)
            met &= middle <= GOALS.get(seconds, middle)
            print(f"{name:26} {size / 1e6:5.2f} MB  p50 {middle:5.1f} ms  worst {worst:5.1f} ms")
    engine.close()
    return int(not met)


def clip(folder: Path, seconds: int) -> tuple[Order, int]:
    video = make_video(folder / f"video-{seconds}.mp4", seconds, (1280, 720), fps=30)
    audio = make_audio(folder / f"audio-{seconds}.m4a", seconds)
    tracks = tuple(
        FetchedTrack(Track(key=kind, kind=kind, transport="ranges", url=""), path.name, path.stat().st_size, "mp4")
        for kind, path in (("video", video), ("audio", audio))
    )
    order = Order(str(folder), "out", tracks, Media(operation="copy", container="mp4"), 1 << 30, 60)
    return order, sum(track.size for track in tracks)


def timed(engine: Engine, order: Order) -> float:
    time.sleep(0.05)  # the child readies its next process between jobs, as between real ones
    started = time.perf_counter()
    engine.run(order, lambda: None, lambda *_: None)
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
