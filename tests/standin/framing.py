"""Fragmented MP4 cut at its fragments: as SABR frames, and as an HLS playlist of byte ranges."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

SABR_TYPE = "application/vnd.typetype.sabr-download"
_MAGIC = b"TTSABR1\n"
_HEADER = struct.Struct(">BIIQ")
_INITIALIZATION, _MEDIA, _COMPLETE = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Fragments:
    """Where a file's parts lie: ``init`` bytes at the front, then ``(offset, length)`` of each fragment."""

    init: int
    media: tuple[tuple[int, int], ...]


@lru_cache(maxsize=64)
def fragments(path: Path) -> Fragments:
    """The fragments of the fragmented MP4 at ``path``; what follows the last one belongs to it."""
    size = path.stat().st_size
    starts: list[int] = []
    with path.open("rb") as file:
        offset = 0
        while offset < size:
            file.seek(offset)
            length, kind = struct.unpack(">I4s", file.read(8))
            if kind == b"moof":
                starts.append(offset)
            if length == 1:
                (length,) = struct.unpack(">Q", file.read(8))
            offset += length
    ends = [*starts[1:], size]
    return Fragments(starts[0], tuple((start, end - start) for start, end in zip(starts, ends, strict=True)))


def sabr_body(tracks: list[tuple[int, Path]], part: int, parts: int) -> Iterator[bytes]:
    """The frames of part ``part`` (from 0) of ``parts``: of each ``(itag, file)`` its share of the fragments."""
    yield _MAGIC
    lists = [(itag, path, fragments(path)) for itag, path in tracks]
    for itag, path, found in lists:
        yield _HEADER.pack(_INITIALIZATION, itag, 0, found.init)
        yield _read(path, 0, found.init)
    shares = [(itag, path, _share(len(found.media), part, parts), found) for itag, path, found in lists]
    for step in range(max((len(share) for _, _, share, _ in shares), default=0)):
        for itag, path, share, found in shares:
            if step < len(share):
                offset, length = found.media[share[step]]
                yield _HEADER.pack(_MEDIA, itag, share[step] + 1, length)
                yield _read(path, offset, length)
    yield _HEADER.pack(_COMPLETE, 0, 0, 0)


def fmp4_playlist(path: Path, url: str, seconds: float) -> str:
    """A VOD playlist of byte ranges of the fragmented MP4 at ``url``."""
    found = fragments(path)
    each = seconds / len(found.media)
    lines = [f'#EXT-X-MAP:URI="{url}",BYTERANGE="{found.init}@0"']
    for offset, length in found.media:
        lines += [f"#EXTINF:{each:.3f},", f"#EXT-X-BYTERANGE:{length}@{offset}", url]
    return _playlist(lines, each)


def ts_playlist(path: Path, url: str, seconds: float, count: int = 5) -> str:
    """A VOD playlist of ``count`` byte ranges of the MPEG-TS at ``url``, cut between packets of 188 bytes."""
    packets = path.stat().st_size // 188
    edges = [packets * number // count * 188 for number in range(count + 1)]
    lines: list[str] = []
    for start, end in pairwise(edges):
        lines += [f"#EXTINF:{seconds / count:.3f},", f"#EXT-X-BYTERANGE:{end - start}@{start}", url]
    return _playlist(lines, seconds / count)


def master_playlist(variants: list[tuple[int, int, str]]) -> str:
    """A master playlist of ``(height, bandwidth, url)``."""
    lines = ["#EXTM3U"]
    for height, bandwidth, url in variants:
        lines += [f"#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},RESOLUTION={height * 16 // 9}x{height}", url]
    return "\n".join(lines) + "\n"


def split_playlist(picture: str, sound: str) -> str:
    """A master playlist of one variant whose sound comes apart."""
    lines = ["#EXTM3U", f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="sound",NAME="English",DEFAULT=YES,URI="{sound}"']
    lines += ['#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=640x360,AUDIO="sound"', picture]
    return "\n".join(lines) + "\n"


def _playlist(lines: list[str], longest: float) -> str:
    head = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{round(longest) + 1}", "#EXT-X-PLAYLIST-TYPE:VOD"]
    return "\n".join([*head, *lines, "#EXT-X-ENDLIST"]) + "\n"


def _share(count: int, part: int, parts: int) -> range:
    return range(count * part // parts, count * (part + 1) // parts)


def _read(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)
