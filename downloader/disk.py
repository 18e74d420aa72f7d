"""Volumes and their free space. Reservations over all processes are the store's business; these are its figures."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from downloader import errors
from downloader.config import Settings

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_REFUSED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """A volume's size and what an ordinary user may still write, in bytes."""

    total: int
    free: int


def free(path: Path) -> DiskSpace:
    """The space of the volume that holds ``path`` (or would: the nearest folder that exists counts)."""
    found = os.statvfs(_existing(path))
    return DiskSpace(total=found.f_blocks * found.f_frsize, free=found.f_bavail * found.f_frsize)


def minimum(settings: Settings, space: DiskSpace) -> int:
    """Bytes that must stay free: the larger of STORAGE_MIN_FREE_BYTES and STORAGE_MIN_FREE_PERCENT of the volume."""
    return max(settings.storage_min_free_bytes, space.total * settings.storage_min_free_percent // 100)


def is_full(error: OSError) -> bool:
    """True when a file operation failed for want of space: of the volume, or of our share of it."""
    return error.errno in _FULL


def failure(error: OSError, path: Path, *, required: int = 0) -> errors.DownloadError:
    """What a failed file operation near ``path`` means: a full disk with figures, or a store that fails or refuses.

    ``required`` is how many bytes were to be written.
    """
    if is_full(error):
        space = _free_or_none(path)
        return errors.InsufficientStorage(
            f"The disk is full: {space} bytes are free, {required} were needed.", free=space, required=required
        )
    reason = os.strerror(error.errno) if error.errno else "unknown error"
    if error.errno in _REFUSED:
        return errors.StorageRefused(f"The storage refuses to be written: {reason}.")
    return errors.StorageFailed(f"The storage failed: {reason}.")


def _free_or_none(path: Path) -> int:
    try:
        return free(path).free
    except OSError:
        return 0


def _existing(path: Path) -> Path:
    for candidate in (path, *path.parents):
        if candidate.exists():
            return candidate
    return Path("/")
