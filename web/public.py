"""What clients are answered, field by field: views build these, /openapi.json describes them.

Whatever is None is left out, so a client never sees null. Times are RFC 3339 in UTC.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from downloader.states import Stage, Status

Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=0)]
Bytes = Annotated[int, Meta(ge=1)]
Milliseconds = Annotated[int, Meta(ge=0)]
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class _Public(Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    pass


class File(_Public, frozen=True):
    """A file beside the artifact, such as subtitles."""

    name: Annotated[str, Meta(description="The file's name.")]
    url: Annotated[str, Meta(description="Where it is; below PUBLIC_BASE_URL.")]


class Resolved(_Public, frozen=True):
    """Which streams were chosen, and what they make."""

    video_itag: Annotated[Text | None, Meta(description="The picture's stream.")] = None
    audio_itag: Annotated[Text | None, Meta(description="The sound's stream, where it is another.")] = None
    height: Annotated[int | None, Meta(description="The picture's lines.")] = None
    fps: Annotated[int | None, Meta(description="Pictures a second.")] = None
    video_codec: str | None = None
    audio_codec: str | None = None
    container: str | None = None
    bitrate: Annotated[int | None, Meta(description="Bits per second.")] = None
    file_name: Annotated[str | None, Meta(description="What the file is called.")] = None


class Job(_Public, frozen=True, kw_only=True):
    """A job. What does not apply, or is not known yet, is left out."""

    id: Annotated[str, Meta(description="All it takes to read, cancel or delete the job; cannot be guessed.")]
    url: Annotated[str, Meta(description="What was posted, unwrapped.")]
    status: Annotated[Status, Meta(description="The truth about whether it has ended.")]
    stage: Annotated[Stage, Meta(description="What it is busy with; of a failed job the last one.")]
    title: Annotated[Text | None, Meta(description="The media's title.")] = None
    duration_ms: Annotated[Count | None, Meta(description="The media's length in milliseconds.")] = None
    resolved: Annotated[Resolved | None, Meta(description="Which streams were chosen.")] = None
    error: Annotated[Text | None, Meta(description="Of a failed job: a sentence for people.")] = None
    error_code: Annotated[Text | None, Meta(description="Of a failed job: why, for programs.")] = None
    warnings: Annotated[list[str] | None, Meta(description="What an option could not deliver.")] = None
    progress_percent: Annotated[
        int, Meta(ge=0, le=100, description="Whole percents; never falls within a job; 100 only when it is done.")
    ]
    downloaded_bytes: Annotated[Count, Meta(description="Bytes fetched so far.")]
    total_bytes: Annotated[Bytes | None, Meta(description="Bytes to fetch, once known.")] = None
    speed_bytes_per_second: Annotated[Count | None, Meta(description="While it runs.")] = None
    eta_seconds: Annotated[Count | None, Meta(description="Seconds left of the download, while it runs.")] = None
    queued_at: Annotated[Moment, Meta(description="When it was posted.")]
    started_at: Annotated[Moment | None, Meta(description="When its first step began.")] = None
    finished_at: Annotated[Moment | None, Meta(description="When it ended.")] = None
    queue_wait_ms: Annotated[Milliseconds, Meta(description="From the post to the start, or to now.")]
    run_time_ms: Annotated[Milliseconds | None, Meta(description="From the start to the end, or to now.")] = None
    download_ms: Annotated[Milliseconds | None, Meta(description="How long the download took.")] = None
    mux_ms: Annotated[Milliseconds | None, Meta(description="How long the muxer took.")] = None
    upload_ms: Annotated[Milliseconds | None, Meta(description="How long publishing took.")] = None
    total_ms: Annotated[Milliseconds | None, Meta(description="From the post to the end.")] = None
    artifact_url: Annotated[str | None, Meta(description="The file; only while it stands.")] = None
    artifact_expires_at: Annotated[Moment | None, Meta(description="When the file goes.")] = None
    sidecars: Annotated[list[File] | None, Meta(description="Files beside the artifact.")] = None


class Posted(_Public, frozen=True):
    """The job that a post led to."""

    id: Annotated[str, Meta(description="The job's id.")]
    cached: Annotated[bool, Meta(description="Whether it was done before and its file still stands.")]


class Problem(_Public, frozen=True):
    """Every error."""

    error: Annotated[str, Meta(description="A sentence for people.")]
    error_code: Annotated[str, Meta(description="A stable code for programs.")]
    code: Annotated[str, Meta(description="The same code once more.")]


class NoRoom(Problem, frozen=True):
    """The error when the disk is too full for another job."""

    free_bytes: Annotated[Count, Meta(description="Bytes that are free beside what other jobs have set aside.")]
    required_free_bytes: Annotated[Count, Meta(description="Bytes that must be free.")]


class Health(_Public, frozen=True):
    """The process answers."""

    status: Literal["ok"]
    service: Literal["typetype-downloader"]


class Version(_Public, frozen=True):
    """What runs here."""

    service: Literal["typetype-downloader"]
    version: str
    revision: str
    build_time: str


class Queue(_Public, frozen=True):
    """A stage's queue."""

    ready: Annotated[Count, Meta(description="Steps that wait for a slot, or for the end of a pause.")]
    running: Annotated[Count, Meta(description="Steps that run.")]
    oldest_seconds: Annotated[float, Meta(ge=0, description="How long the oldest has waited for a slot.")]


class Checks(_Public, frozen=True, kw_only=True):
    """How each part is: `ok`, or what is wrong. There is `s3` or `artifact`, by where files go."""

    service: str
    postgres: str
    dragonfly: str
    s3: str | None = None
    artifact: str | None = None
    disk: str
    stages: str
    janitor: str


class DeepHealth(_Public, frozen=True):
    """Every part. The figures are missing when Postgres does not answer."""

    status: Annotated[Literal["ok", "degraded"], Meta(description="`ok` when every check is.")]
    checks: Checks
    workers: Annotated[dict[str, Count] | None, Meta(description="Live slots per stage, and janitors.")] = None
    queues: Annotated[dict[str, Queue] | None, Meta(description="Each stage's queue.")] = None
