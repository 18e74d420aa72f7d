"""What a source offers, cleaned: the values that the choice is made from. Unknown is None, never 0, -1 or empty."""

from typing import Literal

import msgspec

from downloader.typetype.codecs import ByteFormat


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """One stream that could be fetched.

    ``bitrate`` in bits per second, ``size`` in bytes, ``height`` in pixels. ``codec`` as offered, ``video_family`` and
    ``audio_family`` as downloader.typetype.codecs knows them. ``url`` is absolute; of a SABR stream it is the download
    URL without its query.
    """

    kind: Literal["video", "audio", "muxed"]
    transport: Literal["ranges", "hls", "sabr"]
    url: str
    itag: int | None = None
    codec: str | None = None
    video_family: str | None = None
    audio_family: str | None = None
    format: ByteFormat | None = None
    mime_type: str | None = None
    height: int | None = None
    fps: int | None = None
    bitrate: int | None = None
    size: int | None = None
    track_id: str | None = None
    track_name: str | None = None
    locale: str | None = None
    is_original: bool = False


class Subtitle(msgspec.Struct, frozen=True, kw_only=True):
    """A subtitle file; ``language`` a BCP 47 tag."""

    url: str
    language: str
    name: str | None = None
    mime_type: str | None = None
    auto_generated: bool = False


class Segment(msgspec.Struct, frozen=True):
    """A chapter's beginning, in seconds."""

    title: str
    start: float


class Sponsored(msgspec.Struct, frozen=True):
    """A SponsorBlock segment, in seconds; category and action in lower case."""

    start: float
    end: float
    category: str
    action: str


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one source offers. ``duration`` in seconds, None when unknown (live, or not told)."""

    title: str = ""
    duration: float | None = None
    uploader: str = ""
    upload_date: str = ""
    description: str = ""
    thumbnail_url: str | None = None
    videos: tuple[Stream, ...] = ()
    audios: tuple[Stream, ...] = ()
    muxed: tuple[Stream, ...] = ()
    hls_url: str | None = None
    original_track_id: str | None = None
    preferred_track_id: str | None = None
    subtitles: tuple[Subtitle, ...] = ()
    chapters: tuple[Segment, ...] = ()
    sponsored: tuple[Sponsored, ...] = ()
