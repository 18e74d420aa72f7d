"""What the artifact store is asked while a client waits: never for longer than the gateway does, which is 10 s."""

import shutil
from collections.abc import Callable
from pathlib import Path

import structlog

from downloader.artifacts import ArtifactStore, PresignedUrl, Stored
from downloader.errors import DownloadError, StorageFailed
from downloader.job import Artifact, Job
from web.parts import Parts
from web.together import T, at_most, in_thread

log = structlog.get_logger(__name__)

LOCATE_SECONDS = 8.0
LOOK_SECONDS = 2.0
REMOVE_SECONDS = 5.0


def locate(here: Parts, artifact: Artifact, file: Stored, *, inline: bool = False) -> Path | PresignedUrl | None:
    """Where ``file``, the artifact or one beside it, is; None when it is gone.

    Raises StorageFailed, also when the store says nothing for LOCATE_SECONDS, and StorageRefused.
    """
    with at_most(LOCATE_SECONDS, _silent()):
        store = here.artifacts_of(artifact)
        return _asked(store, lambda: store.locate(file, inline=inline, until=artifact.expires_at))


def stands(here: Parts, job_id: str) -> bool:
    """Whether a done job's artifact is still there; where it is not, the row says so from now on.

    True as well when the store does not tell within LOOK_SECONDS: then the row has the word.
    """
    job = here.store.job(job_id)
    artifact = job.artifact if job else None
    if artifact is None:
        return False
    try:
        with at_most(LOOK_SECONDS, _silent()):
            store = here.artifacts_of(artifact)
            found = _asked(store, lambda: store.head(artifact))
    except DownloadError as error:
        log.warning("a file is taken to stand", job=job_id, code=error.code, reason=error.message)
        return True
    if found is None:
        here.store.artifact_missing(job_id, artifact.locator)
    return found is not None


def remove(here: Parts, job: Job) -> None:
    """Remove what a deleted job left. What fails here, or lasts, is for the janitor's sweep: the row is gone."""
    try:
        with at_most(REMOVE_SECONDS, _silent()):
            _remove(here, job)
    except DownloadError as error:
        log.warning("files are left to the sweep", job=job.id, code=error.code, reason=error.message)


def _remove(here: Parts, job: Job) -> None:
    in_thread(lambda: shutil.rmtree(here.settings.jobs_dir / job.id, ignore_errors=True))
    store = here.artifacts_of(job.artifact) if job.artifact else here.artifacts

    def files() -> None:
        if job.artifact:
            # An older service's locator may lie outside of the job's own folder.
            store.delete(job.artifact)
        store.delete_job(job.id)

    _asked(store, files)


def _asked(store: ArtifactStore, call: Callable[[], T]) -> T:
    """What ``call`` returns. A disk that lets it wait keeps no other client waiting."""
    return in_thread(call) if store.kind == "local" else call()


def _silent() -> StorageFailed:
    return StorageFailed("The artifact store does not answer; try again shortly.")
