"""Folders named by job ids, under one root: listing, holding, measuring and removing them."""

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from downloader import disk
from downloader.artifacts.files import freed_by, on_disk
from downloader.artifacts.port import JOB_ID, Select, Swept

BATCH: Final = 500
"""Job ids that are looked up in the database at once."""

_TAKEN: Final = re.compile(rf"\.({JOB_ID.pattern})\.[0-9a-f]{{8}}")
"""A folder on its way out: no job's any more, and only left when whoever removed it died."""

_NO_LOCK: Final = (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What flock says where folders cannot be locked (some network shares): there the sweep is as good as its last look."""


def sweep_folders(root: Path, keep: Select, *, dry_run: bool = False) -> Swept:
    """Remove each folder ``root/<job id>`` that ``keep`` does not name.

    Serves work folders and local artifacts alike. ``keep`` is asked after listing: a job's row is older than its files;
    and once more for each folder, while it is held. One that resists keeps no other.
    """
    swept = Swept()
    for folder in _taken(root):
        swept += Swept.by(partial(_finish, folder, dry_run=dry_run), folder.name)
    for ids in batches(job_ids(root)):
        for job_id in sorted(set(ids) - set(keep(ids))):
            swept += Swept.by(partial(_sweep, root / job_id, keep, dry_run=dry_run), job_id)
    return swept


def _sweep(folder: Path, keep: Select, *, dry_run: bool) -> Swept:
    freed = remove_ended(folder, lambda: folder.name not in keep([folder.name]), dry_run=dry_run)
    return Swept(jobs=freed is not None, bytes_freed=freed or 0)


def _finish(taken: Path, *, dry_run: bool) -> Swept:
    return Swept(bytes_freed=remove(taken, dry_run=dry_run))


def remove_ended(folder: Path, ended: Callable[[], bool], *, dry_run: bool = False) -> int | None:
    """Remove a job's folder if ``ended()`` says so while it is held; the bytes freed, None when it stays or was gone.

    Whoever runs the job again looks at the folder while holding it, too: so it finds all of it, or nothing.
    """
    with held(folder) as there:
        if not there or not ended():
            return None
        if dry_run:
            return remove(folder, dry_run=True)
        # Out of the way at once, whatever removing takes: the name is free for the job's next run.
        taken = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
        try:
            folder.rename(taken)
        except FileNotFoundError:
            return None  # whoever deletes a job asks nobody
        except OSError as error:
            raise disk.failure(error, folder) from error
    return remove(taken)


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """While the block runs nobody else holds ``folder``; False when there is none. Waits for whoever holds it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    except OSError as error:
        raise disk.failure(error, folder) from error
    try:
        try:
            _lock(descriptor)
            there = _is(descriptor, folder)
        except OSError as error:
            raise disk.failure(error, folder) from error
        yield there
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCK:
            raise


def _is(descriptor: int, folder: Path) -> bool:
    """Whether the folder that was opened still has its name: another may have taken it while we waited."""
    try:
        return os.path.samestat(os.fstat(descriptor), folder.lstat())
    except FileNotFoundError:
        return False


def job_ids(root: Path) -> Iterator[str]:
    """The ids of all jobs that have a folder in ``root``; none when there is no root."""
    yield from [name for name in _folders(root) if JOB_ID.fullmatch(name)]


def batches(ids: Iterator[str]) -> Iterator[list[str]]:
    """``ids`` in lists of at most BATCH."""
    while batch := list(islice(ids, BATCH)):
        yield batch


def size(folder: Path, of: Callable[[os.stat_result], int] = on_disk) -> int:
    """What all files in ``folder`` come to, each by ``of``; 0 when there is no folder. Raises OSError."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += of(Path(parent, name).lstat())
    return total


def remove(folder: Path, *, dry_run: bool = False) -> int:
    """Remove ``folder`` with all in it (following no link) and return the bytes freed; 0 when it was gone."""
    try:
        freed = size(folder, freed_by)
        if not dry_run:
            with suppress(FileNotFoundError):
                shutil.rmtree(folder)
    except OSError as error:
        raise disk.failure(error, folder) from error
    return freed


def _taken(root: Path) -> list[Path]:
    return [root / name for name in _folders(root) if _TAKEN.fullmatch(name)]


def _folders(root: Path) -> list[str]:
    try:
        with os.scandir(root) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise disk.failure(error, root) from error
