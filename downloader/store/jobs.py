"""What clients do: post, look, cancel, delete. Each method is one round trip."""

import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from downloader.errors import DownloadError
from downloader.job import Entry, Job, Options
from downloader.route import steps_for
from downloader.states import Status
from downloader.store import rows
from downloader.store.database import Database
from downloader.store.statements import named

_SQL = named("jobs.sql")

# 128 random bits: an id is all it takes to read a job, so it must not be guessed.
_ID_BYTES = 16


# Web processes that post at the same time without seeing each other's jobs: WEB_WORKERS is at most this.
_POSTERS = 64
_COUNT_SECONDS = 1.0


class QueueFull(DownloadError):
    """As many unfinished jobs as may be."""

    code = "queue_full"


class NotCancellable(DownloadError):
    """The job has ended already; ``job`` says how."""

    code = "not_cancellable"

    def __init__(self, job: Job) -> None:
        super().__init__("The job has already ended.")
        self.job = job


class StillRunning(DownloadError):
    """Only an ended job can be deleted."""

    code = "running"


@dataclass(frozen=True, slots=True)
class NewJob:
    """A validated wish. ``authorization`` is sealed (see vault); ``cache_key`` says which jobs are equal."""

    url: str
    options: Options
    cache_key: str
    authorization: bytes | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Posted:
    """The job that a post led to. ``cached``: it is done and stands. ``ready``: entries to add when it is new."""

    id: str
    cached: bool
    created: bool
    ready: tuple[Entry, ...] = ()


class _Room:
    """How many jobs may be made before the unfinished ones are counted again: counting thousands takes milliseconds.

    A process takes no more than its share of the room that it saw, so all of them together stay within the limit.
    """

    def __init__(self) -> None:
        self._limit = self._left = 0
        self._until = 0.0

    def take(self, limit: int) -> bool:
        """Whether one more may be made uncounted."""
        if limit != self._limit or self._left <= 0 or time.monotonic() > self._until:
            return False
        self._left -= 1
        return True

    def counted(self, limit: int, unfinished: int) -> None:
        """Note what was counted just now."""
        self._limit, self._left = limit, (limit - unfinished) // _POSTERS
        self._until = time.monotonic() + _COUNT_SECONDS


class Jobs:
    """Jobs as clients see them, over ``db``."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._room = _Room()

    def post(self, new: NewJob, *, limit: int) -> Posted:
        """The unfinished or standing job equal to ``new``, or a new one unless ``limit`` are unfinished.

        Posts in flight at the same moment may exceed the limit by their number. Raises QueueFull, StoreUnavailable.
        """
        route = steps_for(new.options)
        values = {
            "id": secrets.token_hex(_ID_BYTES),
            "cache_key": new.cache_key,
            "url": rows.as_text(new.url),
            "options": rows.as_json(new.options),
            "authorization": new.authorization,
            "request_id": rows.as_text(new.request_id),
            "limit": None if self._room.take(limit) else limit,
            "steps": rows.steps(route),
        }
        # Empty-handed means full, or that an equal post committed after our snapshot: then the next look finds it.
        for _ in range(3):
            for row in self.db.rows(_SQL["post"], values):
                if values["limit"] is not None:
                    self._room.counted(limit, row["unfinished"])
                ready = tuple(Entry(s.stage, row["id"], n) for n, s in route.items() if not s.needs)
                created = row["created"]
                return Posted(row["id"], row["status"] == Status.DONE, created, ready if created else ())
        raise QueueFull("The queue is full; try again shortly.")

    def job(self, job_id: str) -> Job | None:
        """The job, or None."""
        return next(map(rows.job, self.db.rows(_SQL["job"], {"id": job_id})), None)

    def jobs(self, job_ids: Collection[str]) -> dict[str, Job]:
        """Those of the jobs that exist, by id."""
        found = self.db.rows(_SQL["jobs"], {"ids": list(job_ids)}) if job_ids else []
        return {row["id"]: rows.job(row) for row in found}

    def list_jobs(self, limit: int = 50, status: str = "") -> list[Job]:
        """The newest jobs, of one status or of all."""
        return [rows.job(row) for row in self.db.rows(_SQL["recent"], {"limit": limit, "status": status})]

    def cancel(self, job_id: str) -> Job | None:
        """End the job as cancelled; None when there is none. Raises NotCancellable when it has ended already."""
        for row in self.db.rows(_SQL["cancel"], {"id": job_id}):
            return rows.job(row)
        job = self.job(job_id)
        if job is not None:
            raise NotCancellable(job)
        return None

    def delete(self, job_id: str) -> Job | None:
        """Delete an ended job's row; the row as it was, for its files' sake. Raises StillRunning."""
        for row in self.db.rows(_SQL["delete"], {"id": job_id}):
            return rows.job(row)
        if self.job(job_id) is not None:
            raise StillRunning("The job is still running; cancel it first.")
        return None

    def artifact_missing(self, job_id: str, locator: str) -> None:
        """Note that the artifact at ``locator`` is gone: the next equal post downloads anew."""
        self.db.rows(_SQL["artifact_missing"], {"id": job_id, "locator": locator})

    def expired_artifacts(self, limit: int = 100, after: Job | None = None) -> list[Job]:
        """Done jobs whose artifact is past its time and not yet removed, oldest first; those ``after`` one of them."""
        since = after.artifact_expires_at if after and after.artifact_expires_at else datetime.min.replace(tzinfo=UTC)
        values = {"limit": limit, "after": since, "after_id": after.id if after else ""}
        return [rows.job(row) for row in self.db.rows(_SQL["expired_artifacts"], values)]

    def unfinished_of(self, job_ids: Collection[str]) -> set[str]:
        """Those of the jobs whose work folder is still needed."""
        found = self.db.rows(_SQL["unfinished_of"], {"ids": list(job_ids)}) if job_ids else []
        return {row["id"] for row in found}

    def standing_of(self, job_ids: Collection[str]) -> set[str]:
        """Those of the jobs that may have something in the artifact store."""
        found = self.db.rows(_SQL["standing_of"], {"ids": list(job_ids)}) if job_ids else []
        return {row["id"] for row in found}

    def ping(self) -> None:
        """Raise StoreUnavailable when Postgres is away."""
        self.db.rows(_SQL["ping"])
