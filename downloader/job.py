"""The job and what belongs to it, as frozen values. Nothing here loads, saves or enqueues itself.

Structs that cross JSON are camelCase there and snake_case here; an absent field is None.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec

from downloader.states import Stage, Status


class Subtitles(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What of the subtitles is wanted. ``languages`` are BCP 47 tags; empty means all that is there."""

    enabled: bool = False
    auto: bool = False
    embed: bool = False
    languages: tuple[str, ...] = ()
    format: Literal["srt", "vtt"] | None = None


class Options(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A POST's options after normalization: equal wishes are equal values (they are part of the cache key).

    ``height`` in pixels, ``bitrate`` in bits per second, codecs as given (matched by family when choosing).
    """

    mode: Literal["video", "audio", "thumbnail"] = "video"
    quality: str | None = None
    format: str | None = None
    container: str | None = None
    video_itag: int | None = None
    audio_itag: int | None = None
    height: int | None = None
    fps: int | None = None
    video_codec: str | None = None
    audio_codec: str | None = None
    bitrate: int | None = None
    allow_quality_fallback: bool = True
    audio_passthrough: bool = False
    sponsor_block: bool = False
    sponsor_block_categories: tuple[str, ...] = ()
    thumbnail_only: bool = False
    subtitles: Subtitles = Subtitles()
    callback_url: str | None = None


class Resolved(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What was chosen. ``bitrate`` in bits per second."""

    video_itag: int | None = None
    audio_itag: int | None = None
    height: int | None = None
    fps: int | None = None
    video_codec: str | None = None
    audio_codec: str | None = None
    container: str | None = None
    bitrate: int | None = None
    file_name: str | None = None

    def told(self) -> dict[str, Any]:
        """Its fields as clients and rows have them: there an itag is text, as it always was."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields | {name: str(fields[name]) for name in ("videoItag", "audioItag") if name in fields}


class Sidecar(msgspec.Struct, frozen=True, rename="camel"):
    """A file beside the artifact: ``name`` as served at /jobs/{id}/files/{name}."""

    name: str
    locator: str
    content_type: str = "application/octet-stream"
    size: int = 0


class Artifact(msgspec.Struct, frozen=True, rename="camel"):
    """The published file.

    ``locator`` is a path relative to DATA_DIR or absolute (local) or an object key (s3); ``digest`` is what the
    store keeps of the bytes (s3: see ``s3_upload.digest``), or empty.
    """

    storage: Literal["local", "s3"]
    locator: str
    name: str
    size: int
    content_type: str
    digest: str = ""
    expires_at: datetime | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One row of downloader_jobs. Times are aware UTC; durations in milliseconds; sizes in bytes."""

    id: str
    cache_key: str
    url: str
    options: Options
    status: Status
    stage: Stage
    title: str = ""
    duration_ms: int | None = None
    resolved: Resolved | None = None
    artifact: Artifact | None = None
    sidecars: tuple[Sidecar, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str | None = None
    error_code: str | None = None
    progress_percent: float = 0.0
    downloaded_bytes: int = 0
    total_bytes: int = 0
    queued_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    download_ms: int | None = None
    mux_ms: int | None = None
    upload_ms: int | None = None
    total_ms: int | None = None
    updated_at: datetime | None = None
    request_id: str | None = None
    artifact_expires_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """True when nothing will change any more (short of an operator's retry)."""
        return self.status in (Status.DONE, Status.FAILED)


class Entry(msgspec.Struct, frozen=True):
    """What a stream entry says: ids only."""

    stage: str
    job_id: str
    step: str


class Progress(msgspec.Struct, frozen=True, rename="camel"):
    """Live progress of a job: what stages publish and web overlays on the row. Bytes, bytes per second, seconds.

    ``step`` and ``epoch`` say which claim it comes from: see Broker.publish.
    """

    stage: Stage
    progress_percent: float
    downloaded_bytes: int
    total_bytes: int
    speed_bytes_per_second: int = 0
    eta_seconds: int | None = None
    step: str = ""
    epoch: int = 0
