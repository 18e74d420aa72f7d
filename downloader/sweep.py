"""Removing what no job needs any more, by the database's state: run by the janitor, or asked for by an operator."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from typing import Literal

import structlog

from downloader import artifacts
from downloader.artifacts import ArtifactStore, folders
from downloader.clock import Clock
from downloader.config import Settings
from downloader.errors import DownloadError, StoreUnavailable
from downloader.job import Job
from downloader.store import Store

# An upload younger than this may belong to a publish that is about to be committed.
_PARTS_AGE = timedelta(days=1)
_BATCH = 500

Kind = Literal["local", "s3"]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Removed:
    """How much went (or would go): work folders, expired artifacts, jobs' orphaned files, unfinished uploads.

    ``failed``: how many of them could not be removed; the log says which, and why.
    """

    work_folders: int = 0
    expired: int = 0
    orphans: int = 0
    parts: int = 0
    bytes_freed: int = 0
    failed: int = 0

    def __add__(self, other: "Removed") -> "Removed":
        return Removed(
            self.work_folders + other.work_folders,
            self.expired + other.expired,
            self.orphans + other.orphans,
            self.parts + other.parts,
            self.bytes_freed + other.bytes_freed,
            self.failed + other.failed,
        )


class Sweep:
    """Finds and removes; with ``dry_run`` it only finds. ``clock`` says what "a day old" means.

    What cannot be removed is logged and counted, and keeps no other. Everything here raises StoreUnavailable alone.
    """

    def __init__(
        self, settings: Settings, store: Store, files: ArtifactStore, clock: Clock, *, dry_run: bool = False
    ) -> None:
        self._settings = settings
        self._store = store
        self._stores: dict[Kind, ArtifactStore] = {files.kind: files}
        self._clock = clock
        self._dry_run = dry_run

    def everything(self) -> Removed:
        """All there is to remove."""
        return self.work_folders() + self.expired() + self.orphans()

    def work_folders(self) -> Removed:
        """Work folders of jobs that have ended or are unknown."""
        return self._tried("work_folders", self._work_folders)

    def expired(self) -> Removed:
        """Artifacts past their time; the row is told after the file went, so that a crash only repeats the removal."""
        removed = Removed()
        last: Job | None = None
        # Past what resists, however much of it there is.
        while jobs := self._store.expired_artifacts(_BATCH, after=last):
            for job in jobs:
                removed += self._tried(job.id, partial(self._remove_artifact, job))
            last = jobs[-1]
        return removed

    def orphans(self) -> Removed:
        """Files of deleted jobs, of publishes that never were committed, and uploads that nobody will finish."""
        kinds: set[Kind] = {"local", self._settings.storage}
        removed = Removed()
        for kind in sorted(kinds):
            removed += self._tried(f"orphans ({kind})", partial(self._orphans, kind))
        return removed

    def _work_folders(self) -> Removed:
        swept = folders.sweep_folders(self._settings.jobs_dir, self._store.unfinished_of, dry_run=self._dry_run)
        failed = _said(swept)
        return self._logged(
            "work_folders", Removed(work_folders=swept.jobs, bytes_freed=swept.bytes_freed, failed=failed)
        )

    def _orphans(self, kind: Kind) -> Removed:
        sweep = artifacts.Sweep(
            keep=self._store.standing_of,
            running=self._store.unfinished_of,
            parts_before=self._clock.now() - _PARTS_AGE,
            dry_run=self._dry_run,
        )
        swept = self._files(kind).sweep(sweep)
        failed = _said(swept)
        return self._logged(
            "orphans",
            Removed(orphans=swept.jobs, parts=swept.parts, bytes_freed=swept.bytes_freed, failed=failed),
        )

    def _remove_artifact(self, job: Job) -> Removed:
        if job.artifact is None:
            return Removed()
        if self._dry_run:
            return Removed(expired=1, bytes_freed=job.artifact.size)
        files = self._files(job.artifact.storage)
        # What the row names, for an adopted artifact may lie elsewhere; then the job's own folder with all in it.
        freed = files.delete(job.artifact) + files.delete_job(job.id)
        self._store.artifact_missing(job.id, job.artifact.locator)
        log.info("artifact_expired", job=job.id, bytes=freed)
        return Removed(expired=1, bytes_freed=freed)

    def _files(self, kind: Kind) -> ArtifactStore:
        """The store of ``kind``, also where rows or files are left from a time when another was set."""
        if kind not in self._stores:
            self._stores[kind] = artifacts.open_store(self._settings, kind=kind)
        return self._stores[kind]

    def _tried(self, what: str, remove: Callable[[], Removed]) -> Removed:
        """What ``remove`` removed; where it fails, that is logged and counted, and the sweep goes on with the rest."""
        try:
            return remove()
        except StoreUnavailable:
            raise
        except DownloadError as error:
            log.warning("not_removed", what=what, error=error.message)
        except Exception:
            log.exception("not_removed", what=what)
        return Removed(failed=1)

    def _logged(self, what: str, removed: Removed) -> Removed:
        """``removed``, logged where it is more than nothing."""
        if removed != Removed() and not self._dry_run:
            log.info("swept", what=what, **{name: value for name, value in asdict(removed).items() if value})
        return removed


def _said(swept: artifacts.Swept) -> int:
    """How much resisted; the log says what."""
    for item in swept.resisted:
        log.warning("not_removed", what=item.what, error=item.error.message)
    return len(swept.resisted)
