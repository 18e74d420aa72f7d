"""The error tree. Every error an adapter raises is one of these: a stable code, a verdict, a sentence for a person.

``code`` goes to clients as ``errorCode`` and is documented in docs/operating.md; the message goes to them as ``error``
and must hold neither a secret nor a presigned URL. Anything else that escapes a stage is a bug and counts as a crash.
"""

from enum import StrEnum
from typing import ClassVar


class Verdict(StrEnum):
    """What the runner does with a step that ended with this error."""

    RETRY = "retry"  # try the step again after a pause, a bounded number of times, then fail with its code
    FAIL = "fail"  # the job ends as failed with this code
    CANCELLED = "cancelled"  # the job was ended elsewhere: drop everything, write nothing
    HAND_BACK = "hand_back"  # not the step's fault (drain, no room yet): ready again, no attempt is counted


class DownloadError(Exception):
    """Base of all. ``retry_after`` (seconds) asks for a pause of at least that long before the next try."""

    code: ClassVar[str] = "download_failed"
    verdict: ClassVar[Verdict] = Verdict.FAIL

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class Cancelled(DownloadError):
    """A client cancelled the job."""

    code = "cancelled"
    verdict = Verdict.CANCELLED


class LeaseLost(DownloadError):
    """The step belongs to another process by now (its epoch has moved)."""

    code = "lease_lost"
    verdict = Verdict.CANCELLED


class Draining(DownloadError):
    """The process is asked to end and its grace time is over: the step goes back."""

    code = "draining"
    verdict = Verdict.HAND_BACK


class NoRoomYet(DownloadError):
    """Other jobs' reservations leave too little disk; it will fit when they are done."""

    code = "insufficient_storage"
    verdict = Verdict.HAND_BACK


class InsufficientStorage(DownloadError):
    """The job does not fit on this disk, or the disk filled up. Figures in bytes."""

    code = "insufficient_storage"

    def __init__(self, message: str, *, free: int = 0, required: int = 0) -> None:
        super().__init__(message)
        self.free = free
        self.required = required


class DownloadFailed(DownloadError):
    """A transfer that broke in a way that none of the finer codes names; worth another try."""

    verdict = Verdict.RETRY


class ExtractionFailed(DownloadError):
    """TypeType-Server refused or answered what we cannot use."""

    code = "extraction_failed"


class UpstreamUnavailable(DownloadError):
    """TypeType-Server or a media host is away or overloaded."""

    code = "upstream_unavailable"
    verdict = Verdict.RETRY


class UpstreamChanged(DownloadError):
    """The object changed while it was being read; the track starts anew."""

    code = "upstream_changed"
    verdict = Verdict.RETRY


class SourceForbidden(DownloadError):
    """The host refuses the media (401, 403), also with a fresh link."""

    code = "source_forbidden"


class SourceGone(DownloadError):
    """The host does not have the media any more (404, 410)."""

    code = "source_gone"


class SourceInvalid(DownloadError):
    """What the host sends is not the media that was asked for, or breaks the protocol."""

    code = "source_invalid"


class BlockedAddress(DownloadError):
    """The URL leads to an address that is not public, or is one we refuse to follow."""

    code = "blocked_address"


class NoStream(DownloadError):
    """Nothing the source offers fits what was asked for."""

    code = "no_stream"


class MediaInvalid(DownloadError):
    """The media cannot be read, or what came out of it is not whole."""

    code = "media_invalid"


class MediaTooLarge(DownloadError):
    """The media is beyond MEDIA_MAX_BYTES."""

    code = "media_too_large"


class StorageFailed(DownloadError):
    """The artifact store is away or refuses; worth another try."""

    code = "storage_failed"
    verdict = Verdict.RETRY


class StorageRefused(StorageFailed):
    """The artifact store will go on refusing (credentials, bucket)."""

    verdict = Verdict.FAIL


class TimedOut(DownloadError):
    """The job took longer than it may."""

    code = "timed_out"


class StepCrashed(DownloadError):
    """A part of a step died (a contained engine, say): counts as a crash; the third ends the job.

    ``code`` is the code with which the job ends after the third: ``poisoned`` unless a subclass says better.
    """

    code = "poisoned"
    verdict = Verdict.RETRY


class EngineCrashed(StepCrashed):
    """The contained muxer died or hung on this media."""

    code = "media_invalid"


class StoreUnavailable(DownloadError):
    """Postgres is away, read-only or out of connections. Nothing is known to be written."""

    code = "store_unavailable"
    verdict = Verdict.HAND_BACK


class StoreRefused(StoreUnavailable):
    """Postgres refuses us for good: the password, the role, its rights, or the name of the database is wrong."""


class NotMigrated(StoreUnavailable):
    """The database is not that of this version. The sentence names no host and no user: clients may read it."""

    def __init__(self) -> None:
        super().__init__("The database has no tables yet, or old ones. Run `downloader migrate`.")


class BrokerUnavailable(DownloadError):
    """Redis is away or refuses. Only speed is lost: the janitor adds the entry later."""

    code = "broker_unavailable"
    verdict = Verdict.HAND_BACK


def tree() -> tuple[type[DownloadError], ...]:
    """Every error of this module, in order."""
    return tuple(kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, DownloadError))


def endings() -> dict[str, str]:
    """Every code that a failed job may have, with what it means: the first sentence about the first error that has it.

    A step that is handed back ends no job, and of the claims that are dropped only a client's cancel does.
    """
    found: dict[str, str] = {}
    for kind in tree():
        if kind is Cancelled or (kind.verdict in (Verdict.FAIL, Verdict.RETRY) and kind is not DownloadError):
            sentence = (kind.__doc__ or "").split("\n")[0].split(". ")[0].rstrip(".")
            found.setdefault(kind.code, f"{sentence}.")
    return found
