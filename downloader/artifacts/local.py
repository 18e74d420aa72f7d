"""Artifacts on local disk: ``DATA_DIR/artifacts/<job id>/<name>``.

On one volume a publish is a hard link to the work file: atomic, refused by the kernel when the name is taken, and free
of copying whatever the size. The work file stays (and shares the bytes, so it must never be written again) until the
job's work folder goes.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from downloader import disk, errors
from downloader.artifacts import files, folders
from downloader.artifacts.port import JOB_ID, ArtifactInfo, Check, Progress, Publication, Stored, Sweep, Swept
from downloader.config import Settings
from downloader.job import Artifact

PART_ENDING: Final = ".part"


class LocalStore:
    """An ArtifactStore on a file system."""

    kind: Final = "local"

    def __init__(self, settings: Settings) -> None:
        self._data = settings.data_dir.absolute()
        self._root = settings.artifacts_dir.absolute()

    def put(self, source: Path, publication: Publication, *, progress: Progress, check: Check) -> Artifact:
        """See ArtifactStore. On one volume it takes a flush of the file and of its folder, and no copy."""
        size = 0
        try:
            size = source.stat().st_size
            files.flush_checked(source, check)
            with self._folder(publication.job_id) as folder:
                target = _publish(source, folder, publication, progress, check)
                files.flush(folder)
        except OSError as error:
            raise disk.failure(error, self._root, required=size) from error
        progress(size, size)
        return Artifact(
            storage="local",
            locator=str(target.relative_to(self._data)),
            name=publication.name,
            size=size,
            content_type=publication.content_type,
        )

    def head(self, artifact: Stored) -> ArtifactInfo | None:
        """See ArtifactStore; local artifacts carry no digest."""
        path = self.locate(artifact)
        try:
            found = path.stat() if path else None
        except FileNotFoundError:
            found = None
        if found is None:
            return None
        return ArtifactInfo(size=found.st_size, digest="", modified=datetime.fromtimestamp(found.st_mtime, UTC))

    def locate(
        self,
        artifact: Stored,
        *,
        inline: bool = False,  # noqa: ARG002 - of a URL alone
        until: datetime | None = None,  # noqa: ARG002 - of a URL alone
    ) -> Path | None:
        """See ArtifactStore. Also takes locators of older services: absolute, or relative to where those ran."""
        try:
            inside = self._inside(artifact.locator)
            return inside if inside and stat.S_ISREG(inside.lstat().st_mode) else None
        except (FileNotFoundError, NotADirectoryError, RuntimeError):  # the last is a loop of links
            return None
        except OSError as error:
            raise disk.failure(error, self._root) from error

    def delete(self, artifact: Stored) -> int:
        """See ArtifactStore."""
        path = self.locate(artifact)
        return files.remove(path) if path else 0

    def delete_job(self, job_id: str) -> int:
        """See ArtifactStore."""
        return folders.remove(self._root / job_id) if JOB_ID.fullmatch(job_id) else 0

    def sweep(self, sweep: Sweep) -> Swept:
        """See ArtifactStore."""
        swept = folders.sweep_folders(self._root, sweep.stays, dry_run=sweep.dry_run)
        for ids in folders.batches(folders.job_ids(self._root)):
            running = set(sweep.running(ids))
            # What no job keeps went with its folder, or would in a dry run, and is counted.
            for job_id in sorted(set(sweep.keep(ids)) - running):
                swept += Swept.by(partial(self._sweep_parts, job_id, sweep), job_id)
        return swept

    def health(self) -> None:
        """See ArtifactStore."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk.failure(error, self._root) from error
        if not os.access(self._root, os.W_OK | os.X_OK):
            raise errors.StorageRefused("The artifacts folder cannot be written.")

    def close(self) -> None:
        """See ArtifactStore; there is nothing to end."""

    @contextmanager
    def _folder(self, job_id: str) -> Iterator[Path]:
        """The job's folder, made when missing; an empty one is not left behind."""
        folder = self._root / job_id
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            files.flush(self._root)
        try:
            yield folder
        except BaseException:
            with suppress(OSError):
                folder.rmdir()
            raise

    def _inside(self, locator: str) -> Path | None:
        """The path of ``locator`` when it lies in a job's folder of ours and no part of it is a link."""
        parts = Path(locator).parts
        if "\0" in locator or ".." in parts or self._root.name not in parts:
            return None
        # Whatever the data folder was called when the row was written: what follows "artifacts" is ours.
        start = len(parts) - parts[::-1].index(self._root.name)
        tail = parts[start:]
        id_and_name = len(tail) > 1 and JOB_ID.fullmatch(tail[0])
        if not id_and_name or tail[-1].startswith("."):
            return None
        path = self._root.joinpath(*tail)
        return path if path.resolve() == self._root.resolve().joinpath(*tail) else None

    def _sweep_parts(self, job_id: str, sweep: Sweep) -> Swept:
        parts = freed = 0
        try:
            for part in (self._root / job_id).glob(f".*{PART_ENDING}"):
                with suppress(FileNotFoundError):
                    if part.stat(follow_symlinks=False).st_mtime < sweep.parts_before.timestamp():
                        freed += files.remove(part, dry_run=sweep.dry_run)
                        parts += 1
        except OSError as error:
            raise disk.failure(error, self._root) from error
        return Swept(parts=parts, bytes_freed=freed)


def _publish(source: Path, folder: Path, publication: Publication, progress: Progress, check: Check) -> Path:
    """Make a file in ``folder`` the file ``source`` and return its path."""
    # The second name is for a file that differs from one which stands: that one may be a newer step's.
    for name in (publication.name, f"{publication.epoch}-{publication.name}"):
        target = folder / name
        check()
        try:
            os.link(source, target)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno not in files.NO_LINK:
                raise
            if not os.path.lexists(target) and _copy(source, target, publication.epoch, progress, check):
                return target
        else:
            return target
        if files.same(source, target, check):
            return target
    raise errors.StorageFailed("Another file has the artifact's name.")


def _copy(source: Path, target: Path, epoch: int, progress: Progress, check: Check) -> bool:
    part = target.with_name(f".{epoch}{PART_ENDING}")
    try:
        files.copy(source, part, progress, check)
        check()
        return files.place(part, target)
    finally:
        part.unlink(missing_ok=True)
