"""What one step hands to the next: the ``outputs`` column of downloader_steps, as frozen values.

Paths are relative to the job's work folder ``DATA_DIR/jobs/<id>/`` so that pools may mount it elsewhere. Fields are
only ever added, with defaults: an old and a new version run side by side during a deploy.
"""

from typing import Literal

import msgspec

from downloader.job import Artifact, Resolved, Sidecar


class Track(msgspec.Struct, frozen=True, rename="camel"):
    """One thing to fetch.

    ``key`` is unique within the job and a safe file name (``video``, ``audio``, ``muxed``, ``sub-en-0``, ``cover``).
    ``size`` is the declared length in bytes, None when unknown; ``proxy_url`` serves the same bytes through
    TypeType-Server. ``format`` is the demuxer family that the bytes are expected to be.
    """

    key: str
    kind: Literal["video", "audio", "muxed", "subtitle", "image"]
    transport: Literal["ranges", "hls", "sabr"]
    url: str
    proxy_url: str | None = None
    size: int | None = None
    itag: int | None = None
    codec: str | None = None
    mime_type: str | None = None
    format: Literal["mp4", "webm", "mpegts", "ogg", "mp3", "flv", "text", "image"] | None = None
    bitrate: int | None = None
    height: int | None = None
    language: str | None = None
    title: str | None = None
    auto_generated: bool = False
    audio_track_id: str | None = None
    audio_only: bool = False
    optional: bool = False  # its loss is a warning, not a failure (subtitles, covers)


class Chapter(msgspec.Struct, frozen=True, rename="camel"):
    """A chapter; ``start`` in seconds from the source's beginning."""

    title: str
    start: float


class Cut(msgspec.Struct, frozen=True, rename="camel"):
    """A SponsorBlock segment to leave out, in seconds of the source."""

    start: float
    end: float
    category: str


class Media(msgspec.Struct, frozen=True, rename="camel"):
    """What is to become of the tracks: everything mux needs to know beside the files.

    ``operation``: copy tracks into ``container``; transcode sound to ``audio_codec`` at ``bitrate`` (bits per second);
    or turn an image into the artifact.
    """

    operation: Literal["copy", "transcode", "image"]
    container: str
    title: str = ""
    artist: str = ""
    date: str = ""
    description: str = ""
    source_url: str = ""
    duration_s: float = 0.0
    audio_codec: str | None = None
    bitrate: int | None = None
    subtitles: Literal["none", "embed", "sidecar"] = "none"
    subtitle_format: Literal["srt", "vtt"] | None = None
    chapters: tuple[Chapter, ...] = ()
    cuts: tuple[Cut, ...] = ()


class Plan(msgspec.Struct, frozen=True, rename="camel"):
    """resolve → fetch and mux: the tracks to fetch and what to make of them.

    ``reserve_bytes`` is all that the work folder will come to hold, tracks and output. ``resolved`` and ``warnings`` go
    to the job's row.
    """

    tracks: tuple[Track, ...]
    media: Media
    resolved: Resolved
    title: str = ""
    duration_ms: int | None = None
    reserve_bytes: int = 0
    warnings: tuple[str, ...] = ()


class FetchedTrack(msgspec.Struct, frozen=True, rename="camel"):
    """A track on disk, whole. ``path`` relative to the job's folder; ``format`` what the bytes really are."""

    track: Track
    path: str
    size: int
    format: str | None = None


class Fetched(msgspec.Struct, frozen=True, rename="camel"):
    """fetch → mux. Optional tracks that failed are missing, and named in ``warnings``."""

    tracks: tuple[FetchedTrack, ...]
    bytes_moved: int = 0
    warnings: tuple[str, ...] = ()


class MuxedFile(msgspec.Struct, frozen=True, rename="camel"):
    """One file to publish, relative to the job's folder; ``name`` is what the client will see."""

    path: str
    name: str
    size: int
    content_type: str


class Muxed(msgspec.Struct, frozen=True, rename="camel"):
    """mux → publish."""

    main: MuxedFile
    sidecars: tuple[MuxedFile, ...] = ()
    duration_ms: int | None = None
    warnings: tuple[str, ...] = ()


class Published(msgspec.Struct, frozen=True, rename="camel"):
    """publish → the job's row."""

    artifact: Artifact
    sidecars: tuple[Sidecar, ...] = ()
    warnings: tuple[str, ...] = ()


class Achieved(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished step commits.

    ``outputs`` (a Struct of this module) is kept for the steps that need it until the job is done, and for good where
    none does. The rest, where it is not None, goes to the job's row in the same transaction.
    """

    outputs: msgspec.Struct
    title: str | None = None
    duration_ms: int | None = None
    resolved: Resolved | None = None
    warnings: tuple[str, ...] = ()
    artifact: Artifact | None = None
    sidecars: tuple[Sidecar, ...] = ()
    total_bytes: int | None = None
