"""publish: moves what mux made to where clients get it. The job's row, written by the runner, comes last."""

from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from downloader import errors
from downloader.artifacts import ArtifactStore, Publication, open_store
from downloader.config import Settings
from downloader.handoff import Muxed, MuxedFile, Published
from downloader.job import Artifact, Sidecar
from stages.contract import StepContext, StepResult


class PublishStage:
    """Publishes the artifact and its sidecars to the store that the settings name."""

    def __init__(self, settings: Settings) -> None:
        self._store: ArtifactStore = open_store(settings)

    def run(self, step: StepContext) -> StepResult:
        """See Stage. Twice the same: files that stand already are found, not sent again."""
        muxed = step.take("mux", Muxed)
        files = (*muxed.sidecars, muxed.main)
        total = sum(file.size for file in files)
        started, done = step.clock.monotonic(), 0
        published: list[Artifact] = []
        for file in files:
            published.append(self._put(step, file, done, total))
            done += file.size
        # The artifact comes last: by then its sidecars stand.
        *beside, main = published
        artifact = msgspec.structs.replace(main, expires_at=_expiry(step))
        sidecars = tuple(
            Sidecar(name=item.name, locator=item.locator, content_type=item.content_type, size=item.size)
            for item in beside
        )
        return StepResult(
            outputs=Published(artifact=artifact, sidecars=sidecars),
            artifact=artifact,
            sidecars=sidecars,
            fields={
                "storage": self._store.kind,
                "bytes": total,
                "files": len(files),
                "upload_ms": int((step.clock.monotonic() - started) * 1000),
            },
        )

    def close(self) -> None:
        """See Stage."""
        self._store.close()

    def _put(self, step: StepContext, file: MuxedFile, before: int, total: int) -> Artifact:
        source = _source(step.work, file)
        publication = Publication(job_id=step.job.id, name=file.name, content_type=file.content_type, epoch=step.epoch)
        return self._store.put(
            source,
            publication,
            progress=lambda done, _size: step.progress(before + done, total),
            check=step.check,
        )


def _source(work: Path, file: MuxedFile) -> Path:
    """The file as mux left it: within the work folder and of the size it said; raises StorageFailed otherwise."""
    path = work / file.path
    try:
        inside = path.resolve(strict=True).is_relative_to(work.resolve())
        whole = path.stat().st_size == file.size
    except OSError:
        inside = whole = False
    if not inside or not whole:
        raise errors.StorageFailed("The finished file is no longer in the job's work folder.")
    return path


def _expiry(step: StepContext) -> datetime | None:
    ttl = step.settings.artifact_ttl
    return step.clock.now() + timedelta(seconds=ttl) if ttl > 0 else None
