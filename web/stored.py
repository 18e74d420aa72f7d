"""What the artifact store is asked while a client waits: never for longer than the gateway does, which is 10 s."""

import shutil
from pathlib import Path

import structlog

from downloader.artifacts import PresignedUrl, Stored
from downloader.errors import DownloadError, StorageFailed
from downloader.job import Artifact, Job
from web.parts import Parts
from web.together import at_most, in_thread

log = structlog.get_logger(__name__)

LOCATE_SECONDS = 8.0
REMOVE_SECONDS = 5.0


def locate(here: Parts, artifact: Artifact, file: Stored, *, inline: bool = False) -> Path | PresignedUrl | None:
    """Where ``file``, the artifact or one beside it, is; None when it is gone.

    Raises StorageFailed, also when the store says nothing for LOCATE_SECONDS, and StorageRefused.
    """
    with at_most(LOCATE_SECONDS, _silent()):
        return here.artifacts_of(artifact).locate(file, inline=inline, until=artifact.expires_at)


def remove(here: Parts, job: Job) -> None:
    """Remove what a deleted job left. What fails here, or lasts, is for the janitor's sweep: the row is gone."""
    try:
        with at_most(REMOVE_SECONDS, _silent()):
            _remove(here, job)
    except DownloadError as error:
        log.warning("files are left to the sweep", job=job.id, code=error.code, reason=error.message)


def _remove(here: Parts, job: Job) -> None:
    # Removing large files blocks in the kernel: that goes to a thread, so that no other client waits for it.
    in_thread(lambda: shutil.rmtree(here.settings.jobs_dir / job.id, ignore_errors=True))
    store = here.artifacts_of(job.artifact) if job.artifact else here.artifacts

    def files() -> None:
        if job.artifact:
            # An older service's locator may lie outside of the job's own folder.
            store.delete(job.artifact)
        store.delete_job(job.id)

    if store.kind == "local":
        in_thread(files)
    else:
        files()


def _silent() -> StorageFailed:
    return StorageFailed("The artifact store does not answer; try again shortly.")
