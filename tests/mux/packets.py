"""What a file holds, read with PyAV: packets as hashes, times in seconds."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import av

MUXERS = {".mp4": "mov", ".m4a": "mov", ".webm": "matroska", ".mkv": "matroska", ".ts": "mpegts", ".opus": "ogg"}


class Sample(NamedTuple):
    digest: str
    pts: float
    dts: float
    duration: float
    key: bool


def samples(path: Path, kind: str) -> list[Sample]:
    """Every packet of the first stream of ``kind`` (video, audio, subtitle) in the order of the file."""
    with opened(path) as source:
        stream: Any = next(s for s in source.streams if s.type == kind)
        tick = float(stream.time_base)
        return [
            Sample(
                hashlib.sha256(bytes(packet)).hexdigest(),
                packet.pts * tick,
                (packet.pts if packet.dts is None else packet.dts) * tick,
                (packet.duration or 0) * tick,
                packet.is_keyframe,
            )
            for packet in source.demux(stream)
            if packet.size
        ]


def digests(path: Path, kind: str) -> list[str]:
    return [sample.digest for sample in samples(path, kind)]


def opened(path: Path) -> Any:
    suffix = path.suffix.lstrip(".")
    return av.open(str(path), "r", format=MUXERS.get(path.suffix, suffix))
