"""TypeType-Server's answer as it comes over the wire, and its translation into an Offer.

Lenient where nothing is lost by it: unknown fields are ignored, null and missing lists are empty, 0 and -1 mean
unknown, numbers may come as strings. A wrong type beyond that is ExtractionFailed with the field's path.
"""

import math
import re
from collections.abc import Iterable
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

import msgspec

from downloader.errors import ExtractionFailed
from downloader.typetype.codecs import ByteFormat, families, family
from downloader.typetype.offer import Offer, Segment, Sponsored, Stream, Subtitle

_MAX_TITLE = 1_000  # characters; a file name keeps 180 of them
_MAX_DESCRIPTION = 20_000  # characters
_MAX_WORD = 200  # characters of a name, a tag, a codec list
_MAX_URL = 32_768  # characters; the longest real ones have about 3,000
_MAX_COUNT = 1 << 53  # what every JSON implementation still counts exactly

# Control characters, lone surrogates, line and paragraph separators: no JSON column, tag or log line takes them all.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_UNPRINTABLE_IN_LINES = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

Number = int | float | str | None


class _Wire(msgspec.Struct, frozen=True, rename="camel"):
    pass


class WireStream(_Wire, frozen=True, rename="camel"):
    """A video or audio stream as the server words it."""

    url: str | None = None
    mime_type: str | None = None
    format: str | None = None
    resolution: str | None = None
    bitrate: Number = None
    codec: str | None = None
    itag: Number = None
    height: Number = None
    fps: Number = None
    content_length: Number = None
    delivery_method: str | None = None
    manifest_url: str | None = None
    quality: str | None = None
    audio_track_id: str | None = None
    audio_track_name: str | None = None
    audio_locale: str | None = None
    is_original: bool | None = None


class WireSubtitle(_Wire, frozen=True, rename="camel"):
    """A subtitle file as the server words it."""

    url: str | None = None
    mime_type: str | None = None
    language_tag: str | None = None
    display_language_name: str | None = None
    is_auto_generated: bool | None = None


class WireChapter(_Wire, frozen=True, rename="camel"):
    """A chapter as the server words it."""

    title: str | None = None
    start_time_seconds: Number = None


class WireSponsored(_Wire, frozen=True, rename="camel"):
    """A SponsorBlock segment as the server words it."""

    start_time: Number = None
    end_time: Number = None
    category: str | None = None
    action: str | None = None


class WireAnswer(_Wire, frozen=True, rename="camel"):
    """The whole answer of /streams and /streams/youtube/sabr."""

    title: str | None = None
    duration: Number = None
    uploader_name: str | None = None
    upload_date: str | None = None
    description: str | None = None
    thumbnail_url: str | None = None
    video_streams: tuple[WireStream | None, ...] | None = None
    video_only_streams: tuple[WireStream | None, ...] | None = None
    audio_streams: tuple[WireStream | None, ...] | None = None
    original_audio_track_id: str | None = None
    preferred_default_audio_track_id: str | None = None
    hls_url: str | None = None
    subtitles: tuple[WireSubtitle | None, ...] | None = None
    stream_segments: tuple[WireChapter | None, ...] | None = None
    sponsor_block_segments: tuple[WireSponsored | None, ...] | None = None


_DECODER = msgspec.json.Decoder(WireAnswer, strict=False)


def parse_answer(body: bytes, api_base: str) -> Offer:
    """The offer in ``body``; raises ExtractionFailed when it is not an answer of TypeType-Server.

    ``api_base`` resolves the URLs that the server gives relative to itself.
    """
    try:
        answer = _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise ExtractionFailed(f"TypeType-Server's answer has an unexpected shape: {error}") from None
    except (ValueError, RecursionError):
        raise ExtractionFailed("TypeType-Server answered something that is not JSON") from None
    duration = _positive(answer.duration)
    return Offer(
        title=clean(answer.title, _MAX_TITLE),
        duration=duration,
        uploader=clean(answer.uploader_name, _MAX_WORD),
        upload_date=clean(answer.upload_date, _MAX_WORD),
        description=clean(answer.description, _MAX_DESCRIPTION, lines=True),
        thumbnail_url=absolute(answer.thumbnail_url, api_base),
        videos=_streams(answer.video_only_streams, "video", api_base),
        audios=_streams(answer.audio_streams, "audio", api_base),
        muxed=_streams(answer.video_streams, "muxed", api_base),
        hls_url=absolute(answer.hls_url, api_base),
        original_track_id=clean(answer.original_audio_track_id, _MAX_WORD) or None,
        preferred_track_id=clean(answer.preferred_default_audio_track_id, _MAX_WORD) or None,
        subtitles=tuple(_subtitles(answer.subtitles or (), api_base)),
        chapters=tuple(_chapters(answer.stream_segments or ())),
        sponsored=tuple(_sponsored(answer.sponsor_block_segments or (), duration)),
    )


def clean(text: str | None, limit: int, *, lines: bool = False) -> str:
    """``text`` without control characters and lone surrogates, blanks folded, cut to ``limit`` characters."""
    if not text:
        return ""
    if not lines:
        return " ".join(_UNPRINTABLE.sub(" ", text[: limit * 4]).split())[:limit].rstrip()
    return re.sub(r"[^\S\n]+", " ", _UNPRINTABLE_IN_LINES.sub(" ", text[: limit * 4])).strip()[:limit].rstrip()


def absolute(url: str | None, api_base: str) -> str | None:
    """``url`` when it is one of http or https with a host, a path of the server's own made absolute, else None."""
    url = (url or "").strip()
    if url.startswith("/") and not url.startswith("//"):
        url = api_base + url
    if not url or len(url) > _MAX_URL or any(char <= " " or char == "\x7f" for char in url):
        return None
    try:
        split = urlsplit(url)
    except ValueError:
        return None
    return url if split.scheme in ("http", "https") and split.hostname else None


def _streams(
    wires: Iterable[WireStream | None] | None, kind: Literal["video", "audio", "muxed"], api_base: str
) -> tuple[Stream, ...]:
    found = (_stream(wire, kind, api_base) for wire in wires or () if wire is not None)
    return tuple(stream for stream in found if stream is not None)


def _stream(wire: WireStream, kind: Literal["video", "audio", "muxed"], api_base: str) -> Stream | None:
    place = _place(wire, api_base)
    if place is None:
        return None
    transport, url = place
    codec = clean(wire.codec, _MAX_WORD) or _codecs_parameter(wire.mime_type)
    video_family, audio_family = families(codec)
    if kind == "audio":
        video_family, audio_family = None, family(codec) if audio_family is None else audio_family
    return Stream(
        kind=kind,
        transport=transport,
        url=url,
        itag=_count(wire.itag),
        codec=codec or None,
        video_family=video_family,
        audio_family=None if kind == "video" else audio_family,
        format=None if transport == "hls" else _byte_format(wire),
        mime_type=clean(wire.mime_type, _MAX_WORD) or None,
        height=None if kind == "audio" else _count(wire.height) or _height(wire.resolution),
        fps=None if kind == "audio" else _count(wire.fps),
        bitrate=_count(wire.bitrate),
        size=_count(wire.content_length),
        track_id=clean(wire.audio_track_id, _MAX_WORD) or None,
        track_name=clean(wire.audio_track_name, _MAX_WORD) or None,
        locale=clean(wire.audio_locale, _MAX_WORD) or None,
        is_original=bool(wire.is_original),
    )


def _place(wire: WireStream, api_base: str) -> tuple[Literal["ranges", "hls", "sabr"], str] | None:
    """How and from where a stream comes, or None when it cannot be fetched (a DASH manifest, no URL)."""
    method = (wire.delivery_method or "").strip().lower()
    if method == "sabr":
        url = sabr_download_url(wire.manifest_url, api_base) if _count(wire.itag) else None
        return ("sabr", url) if url else None
    url = absolute(wire.url, api_base) or (absolute(wire.manifest_url, api_base) if method == "hls" else None)
    if url is None:
        return None
    path = urlsplit(url).path.lower()
    if path.endswith(".mpd"):
        return None
    return ("hls" if method == "hls" or path.endswith(".m3u8") else "ranges"), url


def sabr_download_url(manifest_url: str | None, api_base: str) -> str | None:
    """Where a SABR manifest's media is downloaded, always below ``api_base``: the Authorization goes there."""
    path = urlsplit(manifest_url or "").path if len(manifest_url or "") <= _MAX_URL else ""
    _, found, video = path.partition("/sabr/manifest/")
    if not found or not video or any(unquote(part) in ("", ".", "..") for part in video.split("/")):
        return None
    return f"{api_base}/sabr/download/{quote(video, safe='/%')}"


def _byte_format(wire: WireStream) -> ByteFormat | None:
    word = (wire.mime_type or "").partition(";")[0].partition("/")[2].strip().lower()
    for name in (word, (wire.format or "").strip().lower()):
        found = _BYTE_FORMATS.get(name)
        if found:
            return found
    return None


_BYTE_FORMATS: dict[str, ByteFormat] = {
    "mp4": "mp4",
    "mpeg_4": "mp4",
    "m4a": "mp4",
    "x-m4a": "mp4",
    "3gpp": "mp4",
    "v3gpp": "mp4",
    "quicktime": "mp4",
    "webm": "webm",
    "webma": "webm",
    "webma_opus": "webm",
    "ogg": "ogg",
    "opus": "ogg",
    "mp3": "mp3",
    "mpeg": "mp3",
    "mp2t": "mpegts",
    "ts": "mpegts",
    "flv": "flv",
    "x-flv": "flv",
}


def _codecs_parameter(mime_type: str | None) -> str:
    """The codecs parameter of a MIME type (RFC 6381): ``video/mp4; codecs="avc1.4d401f"`` → ``avc1.4d401f``."""
    found = re.search(r'codecs="?([^";]+)', mime_type or "", re.IGNORECASE)
    return clean(found[1], _MAX_WORD) if found else ""


def _height(resolution: str | None) -> int | None:
    """The height in ``1280x720``, ``720p`` or ``720p60``."""
    found = re.search(r"(?:\d+\s*[xX]\s*)?(\d{2,5})\s*p?", (resolution or "")[:40])
    return int(found[1]) if found else None


def _subtitles(wires: Iterable[WireSubtitle | None], api_base: str) -> Iterable[Subtitle]:
    for wire in wires:
        url = absolute(wire.url, api_base) if wire else None
        if wire and url:
            yield Subtitle(
                url=url,
                language=clean(wire.language_tag, 35).replace("_", "-") or "und",
                name=clean(wire.display_language_name, _MAX_WORD) or None,
                mime_type=clean(wire.mime_type, _MAX_WORD) or None,
                auto_generated=bool(wire.is_auto_generated),
            )


def _chapters(wires: Iterable[WireChapter | None]) -> Iterable[Segment]:
    for wire in wires:
        start = _number(wire.start_time_seconds) if wire else None
        if wire and start is not None and start >= 0:
            yield Segment(clean(wire.title, _MAX_WORD), start)


def _sponsored(wires: Iterable[WireSponsored | None], duration: float | None) -> list[Sponsored]:
    found: list[Sponsored] = []
    for wire in wires:
        start, end = (_number(wire.start_time), _number(wire.end_time)) if wire else (None, None)
        if wire and start is not None and end is not None and 0 <= start < end:
            category, action = clean(wire.category, _MAX_WORD).lower(), clean(wire.action, _MAX_WORD).lower()
            found.append(Sponsored(start, end, category, action or "skip"))
    # The extractor below the server counts milliseconds: an end far behind the media's end tells.
    if duration and any(item.end > 2 * duration + 60 for item in found):
        return [msgspec.structs.replace(item, start=item.start / 1000, end=item.end / 1000) for item in found]
    return found


def _number(value: Any) -> float | None:
    """A finite number out of a number or a string, else None."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _positive(value: Any) -> float | None:
    found = _number(value)
    return found if found is not None and 0 < found < _MAX_COUNT else None


def _count(value: Any) -> int | None:
    """A whole number above zero, else None: the server says 0 or -1 for unknown."""
    found = _positive(value)
    return int(found) or None if found is not None else None
