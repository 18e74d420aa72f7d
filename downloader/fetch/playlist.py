"""HLS playlists (RFC 8216), read by m3u8, as the pieces of one file. Pure: no I/O."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import m3u8

from downloader.errors import SourceInvalid

_IV_BYTES = 16
_MAX_LINES = 400_000
_MAX_RESOURCES = 50_000  # a day in segments of two seconds
_MAX_PAIRS = 4_000_000  # of a segment and a key or initialization: m3u8 compares them all, about 10 million in a second
_MAX_SECONDS = 1e6  # of one segment; more is not believed
_MAX_RENDITIONS = 1_000  # it compares these with each other as well
_SECTIONS = frozenset({"#EXT-X-KEY", "#EXT-X-MAP"})
_RENDITIONS = frozenset({"#EXT-X-STREAM-INF", "#EXT-X-MEDIA"})
_OTHERS = ("#EXTM3U", "#EXTINF", "#EXT-X-BYTERANGE", "#EXT-X-GAP", "#EXT-X-MEDIA-SEQUENCE", "#EXT-X-ENDLIST")
_MEANT = "%/:=&?~#+!$,;'@()*[]"  # what stands in a URL for itself; blanks and letters beyond ASCII do not
_TAGS = _SECTIONS.union(_RENDITIONS, _OTHERS)


@dataclass(frozen=True, slots=True)
class Segment:
    """One piece: a whole resource or ``span`` (half-open) of it; ``key_url`` and ``iv`` when it is AES-128.

    ``seconds`` is how long it plays, as the playlist says; an initialization does not.
    """

    url: str
    span: tuple[int, int] | None = None
    key_url: str | None = None
    iv: bytes = b""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Playlist:
    """The pieces in order, initialization sections included, and a digest that a renewed link does not change."""

    segments: tuple[Segment, ...]
    digest: str

    @property
    def places(self) -> tuple[int, ...]:
        """Where each of the first pieces begins in the file, as far as all before it say how long they are."""
        found = [0]
        for segment in self.segments:
            if segment.span is None or segment.key_url is not None:
                break
            found.append(found[-1] + segment.span[1] - segment.span[0])
        return tuple(found)

    @property
    def joined(self) -> "Playlist":
        """The same in fewer pieces: parts of one resource that follow each other there are one."""
        pieces: list[Segment] = []
        for item in self.segments:
            last = pieces[-1] if pieces else None
            plain = last is not None and last.url == item.url and last.key_url is item.key_url is None
            if plain and last and last.span and item.span and last.span[1] == item.span[0]:
                pieces[-1] = replace(last, span=(last.span[0], item.span[1]), seconds=last.seconds + item.seconds)
            else:
                pieces.append(item)
        return Playlist(tuple(pieces), _digest(tuple(pieces)))


@dataclass(frozen=True, slots=True, order=True)
class Variant:
    """One way to see a programme. ``height`` 0 is unknown; ``sound`` is the playlist of sound that comes apart."""

    height: int
    bits_per_second: int
    url: str
    sound: str = ""


@dataclass(frozen=True, slots=True)
class Master:
    """Variants of one programme."""

    variants: tuple[Variant, ...]

    def choose(self, height: int | None) -> Variant:
        """The highest variant up to ``height``, else the lowest; of equals the one with more bits."""
        fitting = [variant for variant in self.variants if height is None or variant.height <= height]
        return max(fitting) if fitting else min(self.variants)


def read(text: str, url: str) -> Playlist | Master:
    """The playlist at ``url``; raises SourceInvalid when it is none, live, or protected in a way we cannot undo."""
    text = text.lstrip("\ufeff")
    if not text.startswith("#EXTM3U"):
        raise SourceInvalid("The media's playlist is not one.")
    sections = _SectionKeys()
    try:
        found = m3u8.loads(_relevant(text), uri=url, custom_tags_parser=sections.tag)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise SourceInvalid("The media's playlist cannot be read.") from error
    if found.is_variant or (found.media and not found.segments):
        return _master(found, url)
    if not found.is_endlist:
        raise SourceInvalid("The media is a live stream; only finished ones can be downloaded.")
    segments = tuple(_segments(found, url, sections.keys))
    if not segments:
        raise SourceInvalid("The media's playlist holds no segments.")
    return Playlist(segments, _digest(segments))


def _relevant(text: str) -> str:
    """The lines that say what to fetch, as many as m3u8 can read in a second or two: it has no limits of its own."""
    lines = text.splitlines()
    if len(lines) > _MAX_LINES:
        raise SourceInvalid("The media's playlist is too long.")
    found: list[str] = []
    sections: set[str] = set()
    resources = renditions = 0
    for line in map(str.strip, lines):
        tag = line.partition(":")[0] if line.startswith("#") else ""
        if not line or (tag and tag not in _TAGS):
            continue
        found.append(line)
        resources += not tag
        renditions += tag in _RENDITIONS
        if tag in _SECTIONS:
            sections.add(line)
    if resources > _MAX_RESOURCES or renditions > _MAX_RENDITIONS or resources * len(sections) > _MAX_PAIRS:
        raise SourceInvalid("The media's playlist is too long.")
    return "\n".join(found)


def _master(found: m3u8.M3U8, url: str) -> Master:
    variants = [
        Variant(
            (item.stream_info.resolution or (0, 0))[1],
            item.stream_info.bandwidth or 0,
            _join(url, item.uri),
            _sound(found, item.stream_info.audio, url),
        )
        for item in found.playlists
        if item.uri
    ]
    if not variants and (sound := _best([item for item in found.media if item.type == "AUDIO" and item.uri], url)):
        variants = [Variant(0, 0, sound)]  # a programme of sound alone
    if not variants:
        raise SourceInvalid("The media's playlist names no variants.")
    return Master(tuple(variants))


def _sound(found: m3u8.M3U8, group: str | None, url: str) -> str:
    """The playlist of a variant's sound (RFC 8216, 4.3.4.2.1), or empty where the variant itself carries it."""
    sounds = [item for item in found.media if item.type == "AUDIO" and item.group_id == group] if group else []
    if not sounds or any(not item.uri for item in sounds):
        return ""
    return _best(sounds, url)


def _best(sounds: list[m3u8.Media], url: str) -> str:
    """The playlist of the sound that is meant where nobody chooses; empty where there is none."""
    if not sounds:
        return ""
    best = max(sounds, key=lambda item: (item.default == "YES", item.autoselect == "YES"))
    return _join(url, str(best.uri))


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
        if item.gap_tag:  # the host says itself that it does not have it
            _piece(url, item.uri, item.byterange, ends)
            continue
        if item.init_section is not None:
            current = _piece(url, item.init_section.uri, item.init_section.byterange, {})
            key_url, iv = _key(key, url, None)
            current = replace(current, key_url=key_url, iv=iv)
            if current != section:
                pieces.append(current)
                section = current
        piece = _piece(url, item.uri, item.byterange, ends)
        key_url, iv = _key(item.key, url, (found.media_sequence or 0) + index)
        seconds = item.duration if item.duration and 0 < item.duration < _MAX_SECONDS else 0.0
        pieces.append(replace(piece, key_url=key_url, iv=iv, seconds=seconds))
    return pieces


def _join(base: str, uri: str) -> str:
    try:
        return quote(urljoin(base, uri), safe=_MEANT)
    except ValueError:
        raise SourceInvalid("The media's playlist holds an address that is none.") from None


def _piece(base: str, uri: str, byterange: str | None, ends: dict[str, int]) -> Segment:
    """``byterange`` is ``length[@offset]``; without an offset it goes on where the last one of the resource ended."""
    url = _join(base, uri)
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
        return _join(base, key.uri), number.to_bytes(_IV_BYTES)
    except (ValueError, OverflowError):
        raise SourceInvalid("The media's playlist holds an initialization vector that is none.") from None


def _digest(segments: tuple[Segment, ...]) -> str:
    """Paths and ranges only: hosts and queries differ from link to link. Variants may differ by their folders alone."""
    lines = (f"{urlsplit(item.url).path} {item.span} {item.iv.hex()}" for item in segments)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
