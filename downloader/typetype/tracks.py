"""Streams as tracks to fetch: keys, proxy URLs, and how many bytes they will come to."""

import re
from typing import Literal
from urllib.parse import quote, urlsplit

from downloader.handoff import Track
from downloader.typetype.offer import Offer, Stream, Subtitle

_IMAGE_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
_RATE_OF_HEIGHT = ((2160, 20_000_000), (1440, 10_000_000), (1080, 5_000_000), (720, 2_500_000), (480, 1_200_000))
_LOWEST_RATE = 700_000  # bits per second of a small picture
_SOUND_RATE = 160_000  # bits per second of common sound
_COVER_BYTES = 300_000
_SUBTITLE_BYTES = 200_000


def proxy_url(url: str, api_base: str) -> str | None:
    """Where TypeType-Server serves the same bytes; None when it is a URL of that proxy already."""
    if url.startswith(f"{api_base}/proxy"):
        return None
    host = (urlsplit(url).hostname or "").lower()
    path = "/proxy/nicovideo" if host == "nicovideo.jp" or host.endswith(".nicovideo.jp") else "/proxy"
    return f"{api_base}{path}?url={quote(url, safe='')}"


def stream_track(
    stream: Stream, key: Literal["video", "audio", "muxed"], api_base: str, *, audio_only: bool = False
) -> Track:
    """``stream`` as the track ``key``. A SABR track's URL is the download URL without its query."""
    return Track(
        key=key,
        kind=key,
        transport=stream.transport,
        url=stream.url,
        proxy_url=proxy_url(stream.url, api_base) if stream.transport == "ranges" else None,
        size=stream.size,
        itag=stream.itag,
        codec=stream.codec,
        mime_type=stream.mime_type,
        format=stream.format,
        bitrate=stream.bitrate,
        height=stream.height,
        language=stream.locale,
        title=stream.track_name,
        audio_track_id=stream.track_id,
        audio_only=audio_only,
    )


def subtitle_track(subtitle: Subtitle, number: int, api_base: str) -> Track:
    """``subtitle`` as an optional track; ``number`` makes its key unique."""
    language = re.sub(r"[^A-Za-z0-9-]", "", subtitle.language) or "und"
    return Track(
        key=f"sub-{language}-{number}",
        kind="subtitle",
        transport="ranges",
        url=subtitle.url,
        proxy_url=proxy_url(subtitle.url, api_base),
        mime_type=subtitle.mime_type,
        format="text",
        language=subtitle.language,
        title=subtitle.name,
        auto_generated=subtitle.auto_generated,
        optional=True,
    )


def cover_track(url: str, api_base: str, *, optional: bool) -> Track:
    """The thumbnail as a track: optional as cover art, not so as a job's artifact."""
    extension = urlsplit(url).path.rpartition(".")[2].lower()
    return Track(
        key="cover",
        kind="image",
        transport="ranges",
        url=url,
        proxy_url=proxy_url(url, api_base),
        mime_type=_IMAGE_TYPES.get(extension),
        format="image",
        optional=optional,
    )


def known_bytes(tracks: tuple[Track, ...]) -> int | None:
    """The declared bytes of what must be fetched, None when one of them is unknown."""
    sizes = [track.size for track in tracks if not track.optional]
    return sum(size for size in sizes if size is not None) if all(sizes) else None


def expected_bytes(tracks: tuple[Track, ...], offer: Offer) -> int:
    """The bytes that ``tracks`` will come to: declared, or bitrate by duration, or what is common for the height."""
    return sum(_expected(track, offer.duration or 0.0) for track in tracks)


def _expected(track: Track, duration: float) -> int:
    if track.size is not None:
        return track.size
    if track.kind == "image":
        return _COVER_BYTES
    if track.kind == "subtitle":
        return _SUBTITLE_BYTES
    rate = track.bitrate or _common_rate(track)
    return int(rate / 8 * duration)


def _common_rate(track: Track) -> int:
    if track.kind == "audio":
        return _SOUND_RATE
    height = track.height or 0
    return next((rate for floor, rate in _RATE_OF_HEIGHT if height >= floor), _LOWEST_RATE)
