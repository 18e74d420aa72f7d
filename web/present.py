"""A job as clients see it: the row, live progress laid over it, and nothing that is null."""

import math
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from downloader.clock import Clock
from downloader.job import Artifact, Job, Progress
from downloader.states import Stage, Status
from web import public

_ORDER = {stage: place for place, stage in enumerate(Stage)}
_BELOW_DONE = 99
_REMEMBERED = 4096


class Presenter:
    """Builds the public JSON of jobs. ``base`` is PUBLIC_BASE_URL: links stand below it.

    Remembers the highest percentage shown of recent jobs, so that a stage done anew after a crash, or the loss of
    Redis, never lets a client's bar fall back.
    """

    def __init__(self, base: str, clock: Clock) -> None:
        self._base = base
        self._clock = clock
        # By id and time of queueing: an operator's retry queues a job again, and begins anew.
        self._highest: OrderedDict[tuple[str, datetime], int] = OrderedDict()

    def job(self, job: Job, live: Progress | None = None) -> dict[str, Any]:
        """The job's fields in camelCase; times in RFC 3339, durations in milliseconds.

        Of a failed job ``live`` is what was told last: how far it came.
        """
        if job.status in (Status.QUEUED, Status.DONE) or (live and _ORDER[live.stage] < _ORDER[job.stage]):
            live = None
        shown = public.Job(
            id=job.id,
            url=job.url,
            status=job.status,
            stage=live.stage if live else job.stage,
            title=job.title or None,
            duration_ms=job.duration_ms,
            resolved=msgspec.convert(job.resolved.told(), public.Resolved) if job.resolved else None,
            error=job.error or None,
            error_code=job.error_code or None,
            warnings=list(job.warnings) or None,
            **self._progress(job, live),
            **self._times(job),
            **self._files(job),
        )
        found: dict[str, Any] = msgspec.to_builtins(shown)
        return found

    def standing(self, job: Job) -> Artifact | None:
        """The artifact, when it exists for clients now."""
        artifact = job.artifact if job.status is Status.DONE else None
        return artifact if artifact and not self._past(artifact.expires_at) else None

    def expired(self, job: Job) -> bool:
        """Whether the job had a file whose time is over, also when the file has been removed since."""
        expires_at = job.artifact.expires_at if job.artifact else job.artifact_expires_at
        return job.status is Status.DONE and self._past(expires_at)

    def _past(self, moment: datetime | None) -> bool:
        return moment is not None and moment <= self._clock.now()

    def _progress(self, job: Job, live: Progress | None) -> dict[str, Any]:
        downloaded = max(job.downloaded_bytes, live.downloaded_bytes if live else 0)
        total = (live.total_bytes if live else 0) or job.total_bytes
        now = live if job.status is Status.RUNNING else None
        return {
            "progress_percent": self._percent(job, live),
            "downloaded_bytes": downloaded,
            "total_bytes": total if total > 0 else None,
            "speed_bytes_per_second": now.speed_bytes_per_second if now else None,
            "eta_seconds": now.eta_seconds if now else None,
        }

    def _percent(self, job: Job, live: Progress | None) -> int:
        """Whole percents: deployed clients refuse a fraction."""
        key = job.id, job.queued_at
        if job.status is Status.DONE:
            self._highest.pop(key, None)
            return 100
        if job.status is Status.QUEUED:
            return 0
        told = max(job.progress_percent, live.progress_percent if live else 0)
        reached = max(min(math.floor(told), _BELOW_DONE), self._highest.get(key, 0))
        self._highest[key] = reached
        self._highest.move_to_end(key)
        if len(self._highest) > _REMEMBERED:
            self._highest.popitem(last=False)
        return reached

    def _times(self, job: Job) -> dict[str, Any]:
        until = job.finished_at or self._clock.now()
        return {
            "queued_at": _rfc3339(job.queued_at),
            "started_at": _rfc3339(job.started_at),
            "finished_at": _rfc3339(job.finished_at),
            "queue_wait_ms": _between(job.queued_at, job.started_at or until),
            "run_time_ms": _between(job.started_at, until),
            "download_ms": job.download_ms,
            "mux_ms": job.mux_ms,
            "upload_ms": job.upload_ms,
            "total_ms": job.total_ms,
        }

    def _files(self, job: Job) -> dict[str, Any]:
        artifact = self.standing(job)
        if artifact is None:
            return {}
        here = f"{self._base}/jobs/{job.id}"
        sidecars = [public.File(each.name, f"{here}/files/{quote(each.name, safe='')}") for each in job.sidecars]
        return {
            "artifact_url": f"{here}/artifact",
            "artifact_expires_at": _rfc3339(artifact.expires_at),
            "sidecars": sidecars or None,
        }


def _rfc3339(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def _between(start: datetime | None, end: datetime) -> int | None:
    return max(0, round((end - start).total_seconds() * 1000)) if start else None
