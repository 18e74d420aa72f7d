"""HLS playlists (RFC 8216), read by m3u8, as the pieces of one file. Pure: no I/O."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urljoin, urlsplit

import m3u8

from downloader.errors import SourceInvalid

_IV_BYTES = 16
_MAX_SEGMENTS = 200_000


@dataclass(frozen=True, slots=True)
class Segment:
    """One piece: a whole resource or ``span`` (half-open) of it; ``key_url`` and ``iv`` when it is AES-128."""

    url: str
    span: tuple[int, int] | None = None
    key_url: str | None = None
    iv: bytes = b""


@dataclass(frozen=True, slots=True)
class Playlist:
    """The pieces in order, initialization sections included, and a digest that a renewed link does not change."""

    segments: tuple[Segment, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Master:
    """Variants of one programme."""

    variants: tuple[tuple[int, int, str], ...]  # height (0 unknown), bits per second, URL

    def choose(self, height: int | None) -> str:
        """The URL of the highest variant up to ``height``, else of the lowest; of equals the one with more bits."""
        fitting = [variant for variant in self.variants if height is None or variant[0] <= height]
        return max(fitting)[2] if fitting else min(self.variants)[2]


def read(text: str, url: str) -> Playlist | Master:
    """The playlist at ``url``; raises SourceInvalid when it is none, live, or protected in a way we cannot undo."""
    if not text.lstrip("\ufeff").startswith("#EXTM3U"):
        raise SourceInvalid("The media's playlist is not one.")
    sections = _SectionKeys()
    try:
        found = m3u8.loads(text, uri=url, custom_tags_parser=sections.tag)
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise SourceInvalid("The media's playlist cannot be read.") from error
    if found.is_variant:
        return _master(found, url)
    if not found.is_endlist:
        raise SourceInvalid("The media is a live stream; only finished ones can be downloaded.")
    if not 0 < len(found.segments) <= _MAX_SEGMENTS:
        raise SourceInvalid("The media's playlist holds no segments.")
    segments = tuple(_segments(found, url, sections.keys))
    return Playlist(segments, _digest(segments))


def _master(found: m3u8.M3U8, url: str) -> Master:
    variants = [
        (
            (item.stream_info.resolution or (0, 0))[1],
            item.stream_info.bandwidth or 0,
            urljoin(url, item.uri),
        )
        for item in found.playlists
        if item.uri
    ]
    if not variants:
        raise SourceInvalid("The media's playlist names no variants.")
    return Master(tuple(variants))


class _SectionKeys:
    """The key of each EXT-X-MAP, which is the one of the EXT-X-KEY before it (RFC 8216, 4.3.2.5): m3u8 forgets it."""

    def __init__(self) -> None:
        self.keys: dict[int, m3u8.Key | None] = {}
        """By the number of the first segment behind the tag."""

    def tag(self, line: str, _number: int, data: dict[str, Any], state: dict[str, Any]) -> None:
        """See m3u8's custom_tags_parser: it sees every tag before m3u8 does."""
        if line.startswith("#EXT-X-MAP:"):
            key = state.get("current_key")
            self.keys[len(data["segments"])] = m3u8.Key(base_uri=None, **key) if key else None


def _segments(found: m3u8.M3U8, url: str, keys: dict[int, m3u8.Key | None]) -> list[Segment]:
    pieces: list[Segment] = []
    section: Segment | None = None
    key: m3u8.Key | None = None
    ends: dict[str, int] = {}
    for index, item in enumerate(found.segments):
        key = keys.get(index, key)
        if item.init_section is not None:
            current = _piece(url, item.init_section.uri, item.init_section.byterange, {})
            key_url, iv = _key(key, url, None)
            current = replace(current, key_url=key_url, iv=iv)
            if current != section:
                pieces.append(current)
                section = current
        piece = _piece(url, item.uri, item.byterange, ends)
        key_url, iv = _key(item.key, url, (found.media_sequence or 0) + index)
        pieces.append(replace(piece, key_url=key_url, iv=iv))
    return pieces


def _piece(base: str, uri: str, byterange: str | None, ends: dict[str, int]) -> Segment:
    """``byterange`` is ``length[@offset]``; without an offset it goes on where the last one of the resource ended."""
    url = urljoin(base, uri)
    if not byterange:
        return Segment(url)
    length, _, offset = byterange.partition("@")
    try:
        start = int(offset) if offset else ends.get(url, 0)
        end = start + int(length)
    except ValueError:
        raise SourceInvalid("The media's playlist holds a byte range that is none.") from None
    if not 0 <= start < end:
        raise SourceInvalid("The media's playlist holds a byte range that is none.")
    ends[url] = end
    return Segment(url, (start, end))


def _key(key: m3u8.Key | None, base: str, sequence: int | None) -> tuple[str | None, bytes]:
    """Where the key is, and the initialization vector: the tag's, else ``sequence``, which only segments have."""
    if key is None or (key.method or "NONE") == "NONE":
        return None, b""
    if key.method != "AES-128" or (key.keyformat or "identity") != "identity" or not key.uri:
        raise SourceInvalid("The media is protected in a way that cannot be undone.")
    try:
        number = int(key.iv, 16) if key.iv else sequence
        if number is None:
            raise SourceInvalid("The media's playlist lacks an initialization vector.")
        return urljoin(base, key.uri), number.to_bytes(_IV_BYTES)
    except (ValueError, OverflowError):
        raise SourceInvalid("The media's playlist holds an initialization vector that is none.") from None


def _digest(segments: tuple[Segment, ...]) -> str:
    """Paths and ranges only: hosts and queries differ from link to link."""
    lines = (f"{urlsplit(item.url).path.rpartition('/')[2]} {item.span} {item.iv.hex()}" for item in segments)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
