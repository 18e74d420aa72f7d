"""The media that the stand-in offers: made on first use, kept in a folder that several stand-ins may share."""

import random
import secrets
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from tests.media import FRAGMENTED, make_audio, make_image, make_muxed, make_video

SMALL_SECONDS = 5.6  # 1 MB of picture and 90 kB of sound, at the bit rates of a video platform
_SMALL_PICTURE, _SMALL_SOUND = 1_430_000, 128_000  # bits per second
BIG_SECONDS = 400
_LOOP_SECONDS = 4

RECIPES: dict[str, Callable[[Path], object]] = {
    "demo.mp4": lambda path: make_video(path, 60),
    "demo-360.mp4": lambda path: make_video(path, 60, (640, 360)),
    "demo.m4a": lambda path: make_audio(path, 60),
    "small.mp4": lambda path: make_noise(path, SMALL_SECONDS, _SMALL_PICTURE, fps=30, size=(640, 360)),
    "small.m4a": lambda path: make_hiss(path, SMALL_SECONDS, _SMALL_SOUND),
    "short.webm": lambda path: make_video(path, 5, (640, 360)),
    "short-opus.webm": lambda path: make_audio(path, 5),
    "short.mp4": lambda path: make_video(path, 5, (640, 360)),
    "short.m4a": lambda path: make_audio(path, 5),
    "short.mp3": lambda path: make_audio(path, 5),
    "whole.mp4": lambda path: make_muxed(path, 10, (640, 360)),
    "playlist.mp4": lambda path: make_muxed(path, 10, (640, 360), fragmented=True),
    "playlist.ts": lambda path: make_muxed(path, 10, (640, 360)),
    "big.mp4": lambda path: make_long_video(path, BIG_SECONDS),
    "big.m4a": lambda path: make_long_audio(path, BIG_SECONDS),
    "cover.jpg": lambda path: make_image(path, (1280, 720)),
    "cover.webp": lambda path: make_image(path, (1280, 720)),
}
DURATIONS = {"demo": 60.0, "small": SMALL_SECONDS, "short": 5.0, "whole": 10.0, "playlist": 10.0, "big": BIG_SECONDS}


def media_file(folder: Path, name: str) -> Path:
    """The file ``name`` of RECIPES in ``folder``, made when it is missing."""
    path = folder / name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        work = folder / f".{secrets.token_hex(4)}-{name}"
        RECIPES[name](work)
        work.replace(path)
    return path


def make_long_video(path: Path, seconds: int, *, bit_rate: int = 20_000_000) -> Path:
    """Fragmented MP4 of H.264 at ``bit_rate`` bits per second: a few seconds of noise, repeated by stream copy."""
    loop = path.with_suffix(".loop.mp4")
    make_noise(loop, _LOOP_SECONDS, bit_rate)
    _repeat(loop, path, seconds // _LOOP_SECONDS)
    loop.unlink()
    return path


def make_long_audio(path: Path, seconds: int) -> Path:
    """Fragmented MP4 of AAC: a few seconds, repeated by stream copy."""
    loop = make_audio(path.with_suffix(".loop.m4a"), _LOOP_SECONDS)
    _repeat(loop, path, seconds // _LOOP_SECONDS)
    loop.unlink()
    return path


def make_noise(path: Path, seconds: float, bit_rate: int, fps: int = 25, size: tuple[int, int] = (1280, 720)) -> None:
    """Fragmented MP4 of H.264 that nothing compresses: as big as ``bit_rate`` bits per second say."""
    noise = random.Random(1)
    width, height = size
    with av.open(str(path), "w", format="mp4", options=FRAGMENTED) as output:
        rate = {"maxrate": str(bit_rate), "bufsize": str(bit_rate // 4)}
        options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "scenecut=0", **rate}
        stream: Any = output.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, "yuv420p", fps
        stream.codec_context.bit_rate = bit_rate
        for number in range(round(seconds * fps)):
            frame = av.VideoFrame(width, height, "yuv420p")
            for plane in frame.planes:
                plane.update(noise.randbytes(plane.buffer_size))
            frame.pts, frame.time_base = number, Fraction(1, fps)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def make_hiss(path: Path, seconds: float, bit_rate: int) -> None:
    """Fragmented MP4 of AAC that nothing compresses: as big as ``bit_rate`` bits per second say."""
    noise = random.Random(2)
    with av.open(str(path), "w", format="mp4", options=FRAGMENTED) as output:
        stream: Any = output.add_stream("aac", rate=48_000)
        stream.codec_context.bit_rate = bit_rate
        for number in range(round(seconds * 48_000 / 1024)):
            frame = av.AudioFrame("s16", "stereo", 1024)
            frame.planes[0].update(noise.randbytes(frame.planes[0].buffer_size))
            frame.rate, frame.pts, frame.time_base = 48_000, number * 1024, Fraction(1, 48_000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def _repeat(source: Path, target: Path, times: int) -> None:
    """``source`` (one stream) ``times`` over, by stream copy with rising timestamps."""
    with av.open(str(source)) as read, av.open(str(target), "w", format="mp4", options=FRAGMENTED) as output:
        stream = read.streams[0]
        packets = [packet for packet in read.demux(stream) if packet.dts is not None]
        length = packets[-1].dts + (packets[-1].duration or 1) - packets[0].dts
        kept = [(bytes(p), p.pts, p.dts, p.duration, p.is_keyframe) for p in packets]
        copied: Any = output.add_stream_from_template(stream)
        for round_number in range(times):
            shift = round_number * length
            for payload, pts, dts, duration, key in kept:
                packet = av.Packet(payload)
                packet.stream, packet.time_base = copied, stream.time_base
                packet.pts, packet.dts, packet.duration, packet.is_keyframe = pts + shift, dts + shift, duration, key
                output.mux(packet)
