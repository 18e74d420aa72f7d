"""Removing what no job needs any more, by the database's state: run by the janitor, or asked for by an operator."""

from dataclasses import asdict, dataclass
from datetime import timedelta

import structlog

from downloader import artifacts
from downloader.artifacts import ArtifactStore, folders
from downloader.clock import Clock
from downloader.config import Settings
from downloader.job import Job
from downloader.store import Store

# An upload younger than this may belong to a publish that is about to be committed.
_PARTS_AGE = timedelta(days=1)
_BATCH = 500

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Removed:
    """How much went (or would go): work folders, expired artifacts, jobs' orphaned files, unfinished uploads."""

    work_folders: int = 0
    expired: int = 0
    orphans: int = 0
    parts: int = 0
    bytes_freed: int = 0

    def __add__(self, other: "Removed") -> "Removed":
        return Removed(
            self.work_folders + other.work_folders,
            self.expired + other.expired,
            self.orphans + other.orphans,
            self.parts + other.parts,
            self.bytes_freed + other.bytes_freed,
        )


class Sweep:
    """Finds and removes; with ``dry_run`` it only finds. ``clock`` says what "a day old" means."""

    def __init__(
        self, settings: Settings, store: Store, files: ArtifactStore, clock: Clock, *, dry_run: bool = False
    ) -> None:
        self._settings = settings
        self._store = store
        self._files = files
        self._clock = clock
        self._dry_run = dry_run

    def everything(self) -> Removed:
        """All there is to remove."""
        return self.work_folders() + self.expired() + self.orphans()

    def work_folders(self) -> Removed:
        """Work folders of jobs that have ended or are unknown."""
        swept = folders.sweep_folders(self._settings.jobs_dir, self._store.unfinished_of, dry_run=self._dry_run)
        return self._said("work_folders", Removed(work_folders=swept.jobs, bytes_freed=swept.bytes_freed))

    def expired(self) -> Removed:
        """Artifacts past their time; the row is told after the file went, so that a crash only repeats the removal."""
        removed = Removed()
        # One batch a call: the next tick of the janitor takes what is left.
        for job in self._store.expired_artifacts(_BATCH):
            removed += Removed(expired=1, bytes_freed=self._remove_artifact(job))
        return removed

    def orphans(self) -> Removed:
        """Files of deleted jobs, of publishes that never were committed, and uploads that nobody will finish."""
        kinds = {"local", self._settings.storage}
        removed = Removed()
        for kind in sorted(kinds):
            files = self._files if self._files.kind == kind else artifacts.open_store(self._settings, kind="local")
            swept = files.sweep(
                artifacts.Sweep(
                    keep=self._store.standing_of,
                    running=self._store.unfinished_of,
                    parts_before=self._clock.now() - _PARTS_AGE,
                    dry_run=self._dry_run,
                )
            )
            removed += Removed(orphans=swept.jobs, parts=swept.parts, bytes_freed=swept.bytes_freed)
        return self._said("orphans", removed)

    def _remove_artifact(self, job: Job) -> int:
        if job.artifact is None:
            return 0
        if self._dry_run:
            return job.artifact.size
        same = self._files.kind == job.artifact.storage
        files = self._files if same else artifacts.open_store(self._settings, kind=job.artifact.storage)
        # What the row names, for an adopted artifact may lie elsewhere; then the job's own folder with all in it.
        freed = files.delete(job.artifact) + files.delete_job(job.id)
        self._store.artifact_missing(job.id, job.artifact.locator)
        log.info("artifact_expired", job=job.id, bytes=freed)
        return freed

    def _said(self, what: str, removed: Removed) -> Removed:
        """``removed``, logged where it is more than nothing."""
        if removed != Removed() and not self._dry_run:
            log.info("swept", what=what, **{name: value for name, value in asdict(removed).items() if value})
        return removed
