"""Real test media, made with PyAV: small, deterministic, encoded once a session and then copied.

Pictures move and differ from frame to frame; sound is a tone. Sizes stay small because the picture compresses well.
"""

import atexit
import functools
import math
import random
import shutil
import struct
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av

FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof+global_sidx"}
ENCODERS = {
    "h264": ("libx264", {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "scenecut=0"}),
    "h264-bframes": ("libx264", {"preset": "ultrafast", "x264-params": "scenecut=0:bframes=2:b-adapt=0"}),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "av1": ("libsvtav1", {"preset": "13", "svtav1-params": "lp=1"}),
    "aac": ("aac", {}),
    "opus": ("libopus", {"compression_level": "0"}),
    "mp3": ("libmp3lame", {"compression_level": "9"}),
}
MUXERS = {
    ".mp4": "mp4",
    ".m4a": "mp4",
    ".webm": "webm",
    ".mkv": "matroska",
    ".ts": "mpegts",
    ".ogg": "ogg",
    ".mp3": "mp3",
    ".flv": "flv",
}


def make_video(
    path: Path,
    seconds: float = 60,
    size: tuple[int, int] = (1280, 720),
    *,
    fragmented: bool = True,
    codec: str | None = None,
    fps: int = 10,
    gop: int | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """A file of picture alone; container by ``path``'s suffix, a key frame every ``gop`` frames (default: a second)."""
    tags = tuple(sorted((metadata or {}).items()))
    return _copy(path, Recipe(seconds, size, codec or _video_codec(path), None, fps, gop or fps, fragmented, tags))


def make_audio(path: Path, seconds: float = 60, codec: str | None = None, *, fragmented: bool = True) -> Path:
    """A file of sound alone: stereo, 48 kHz; container by ``path``'s suffix."""
    return _copy(path, Recipe(seconds, None, None, codec or _audio_codec(path), fragmented=fragmented))


def make_muxed(
    path: Path,
    seconds: float = 60,
    size: tuple[int, int] = (1280, 720),
    *,
    fragmented: bool = False,
    video_codec: str | None = None,
    audio_codec: str | None = None,
    fps: int = 10,
    gop: int | None = None,
) -> Path:
    """A file of picture and sound."""
    codecs = video_codec or _video_codec(path), audio_codec or _audio_codec(path)
    return _copy(path, Recipe(seconds, size, *codecs, fps, gop or fps, fragmented))


def make_image(path: Path, size: tuple[int, int] = (320, 180)) -> Path:
    """A still picture: .jpg, .png or .webp."""
    codec = {".jpg": "mjpeg", ".png": "png", ".webp": "libwebp"}[path.suffix]
    pixels = {".jpg": "yuvj420p", ".png": "rgb24", ".webp": "yuv420p"}[path.suffix]
    context: Any = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt, context.time_base = *size, pixels, Fraction(1, 25)
    frame = _picture(size, 3).reformat(format=pixels)
    packets = [*context.encode(frame), *context.encode(None)]
    path.write_bytes(b"".join(bytes(packet) for packet in packets))
    return path


def _video_codec(path: Path) -> str:
    return "vp9" if path.suffix == ".webm" else "h264"


def _audio_codec(path: Path) -> str:
    return {".webm": "opus", ".ogg": "opus", ".mp3": "mp3"}.get(path.suffix, "aac")


def _copy(path: Path, recipe: "Recipe") -> Path:
    shutil.copyfile(_made(path.suffix, recipe), path)
    return path


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="typetype-media-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Recipe(NamedTuple):
    """What to make: the key of the cache."""

    seconds: float
    size: tuple[int, int] | None
    video: str | None
    audio: str | None
    fps: int = 0
    gop: int = 0
    fragmented: bool = False
    metadata: tuple[tuple[str, str], ...] = ()


@functools.cache
def _made(suffix: str, recipe: Recipe) -> Path:
    path = _folder() / f"{len(list(_folder().iterdir()))}{suffix}"
    options = FRAGMENTED if recipe.fragmented and MUXERS[suffix] == "mp4" else {}
    with av.open(str(path), "w", format=MUXERS[suffix], options=options) as output:
        output.metadata.update(dict(recipe.metadata))
        encoders: list[tuple[Any, Iterator[Any]]] = []
        if recipe.video and recipe.size:
            encoder, settings = ENCODERS[recipe.video]
            stream: Any = output.add_stream(encoder, rate=recipe.fps, options=dict(settings))
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = *recipe.size, "yuv420p", recipe.gop
            stream.codec_context.bit_rate = 300_000
            stream.codec_context.thread_count = 1
            encoders.append((stream, _pictures(recipe.size, round(recipe.seconds * recipe.fps), recipe.fps)))
        if recipe.audio:
            encoder, settings = ENCODERS[recipe.audio]
            stream = output.add_stream(encoder, rate=48000, options=dict(settings))
            stream.codec_context.bit_rate = 64_000
            encoders.append((stream, _tone(recipe.seconds)))
        _encode(output, encoders)
    return path


def _encode(output: Any, encoders: list[tuple[Any, Iterator[Any]]]) -> None:
    """Encode all streams side by side, the one that lags first."""
    times = [0.0] * len(encoders)
    while min(times) < math.inf:
        at = times.index(min(times))
        stream, frames = encoders[at]
        frame = next(frames, None)
        times[at] = math.inf if frame is None else float(frame.pts * frame.time_base)
        output.mux(stream.encode(frame))


def _pictures(size: tuple[int, int], count: int, fps: int) -> Iterator[Any]:
    for number in range(count):
        frame = _picture(size, number)
        frame.pts, frame.time_base = number, Fraction(1, fps)
        yield frame


def _picture(size: tuple[int, int], number: int) -> Any:
    """A gradient that moves with ``number``."""
    frame = av.VideoFrame(*size, "yuv420p")
    for index, plane in enumerate(frame.planes):
        row = _gradient(plane.line_size + 256)
        start = (number * 3 * (index + 1)) % 256
        plane.update(row[start : start + plane.line_size] * plane.height)
    return frame


@functools.cache
def _gradient(length: int) -> bytes:
    return bytes((position // 2) % 256 for position in range(length))


def _tone(seconds: float, rate: int = 48000, samples: int = 960) -> Iterator[Any]:
    """A tone with a little noise. It repeats after a prime number of samples, so no two packets are alike."""
    tile = _tile() * 2
    period = len(tile) // 8
    written = 0
    while written < round(seconds * rate):
        count = min(samples, round(seconds * rate) - written)
        frame = av.AudioFrame(format="s16", layout="stereo", samples=count)
        start = 4 * (written % period)
        frame.planes[0].update(tile[start : start + 4 * count])
        frame.sample_rate, frame.pts, frame.time_base = rate, written, Fraction(1, rate)
        written += count
        yield frame


@functools.cache
def _tile(samples: int = 48017) -> bytes:
    """A second of stereo sound, 16 bit."""
    noise = random.Random(7)
    values = [round(6000 * math.sin(at * 0.0576)) + noise.randrange(-200, 200) for at in range(samples)]
    return struct.pack(f"<{2 * samples}h", *(value for value in values for _ in range(2)))
