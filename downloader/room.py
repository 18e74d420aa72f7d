"""Room on the volume of DATA_DIR: what unfinished jobs have set aside of it, and what of that is still to come.

A job sets aside all that its work folder will come to hold. What lies there already has left the free space and counts
as written, so that each byte counts once: as free, as written, or as still to come.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from downloader import disk
from downloader.artifacts import folders
from downloader.artifacts.files import freed_by
from downloader.config import Settings
from downloader.kept import kept

_ID: Final = "volume.id"
_ID_MODE: Final = 0o644


def volume_id(folder: Path) -> str:
    """The same text for all processes that share ``folder``, in whichever container or machine, another for others.

    It is kept in the folder itself, for neither host names nor device numbers tell what is shared.
    """
    try:
        return kept(folder / _ID, lambda: secrets.token_hex(16), mode=_ID_MODE)
    except OSError as error:
        raise disk.failure(error, folder) from error


def written(settings: Settings, job_ids: Iterable[str]) -> dict[str, int]:
    """Bytes on disk in the work folder of each of the jobs."""
    with _ours(settings):
        return {job_id: folders.size(settings.jobs_dir / job_id) for job_id in job_ids}


def to_come(settings: Settings, reserved: Mapping[str, int]) -> int:
    """Bytes that jobs will still write of what they have set aside (``reserved``, by job)."""
    there = written(settings, reserved)
    return sum(max(0, size - there[job_id]) for job_id, size in reserved.items())


def passing(settings: Settings) -> int:
    """Bytes in work folders that will be free once their jobs have ended: all that no artifact shares."""
    with _ours(settings):
        return folders.size(settings.jobs_dir, freed_by)


@contextmanager
def _ours(settings: Settings) -> Iterator[None]:
    """Errors of the file system as ours."""
    try:
        yield
    except OSError as error:
        raise disk.failure(error, settings.jobs_dir) from error
