"""Whole files on their way to where they stand: flushed, compared, copied and placed without replacing anything."""

import errno
import os
import stat
from pathlib import Path
from threading import Thread
from typing import Final

from downloader import disk
from downloader.artifacts.port import Check, Progress

CHECK_SECONDS: Final = 0.25
_CHUNK: Final = 8 << 20  # bytes copied between two looks at check()
_FLUSH_EVERY: Final = 32 << 20  # bytes: so that no flush in a copy lasts long
NO_LINK: Final = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What os.link says where the volumes differ, or where the file system has no hard links."""


def flush(path: Path) -> None:
    """Bring a file's data, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_checked(path: Path, check: Check) -> None:
    """As ``flush``, for a file whose flush may last: what ``check`` raises ends the wait, not the flush."""
    failures: list[OSError] = []

    def work() -> None:
        try:
            flush(path)
        except OSError as error:
            failures.append(error)

    thread = Thread(target=work, name="flush", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(CHECK_SECONDS)
        check()
    if failures:
        raise failures[0]


def same(one: Path, other: Path, check: Check) -> bool:
    """True when both are regular files of the same bytes, at best by being the same file."""
    first, second = one.lstat(), other.lstat()
    if os.path.samestat(first, second):
        return True
    if not stat.S_ISREG(second.st_mode) or first.st_size != second.st_size:
        return False
    with one.open("rb", buffering=0) as left, other.open("rb", buffering=0) as right:
        while block := left.read(_CHUNK):
            check()
            if right.read(_CHUNK) != block:
                return False
    return True


def copy(source: Path, target: Path, progress: Progress, check: Check) -> None:
    """Copy ``source`` to ``target`` (replacing it) within the kernel, and bring it to the disk."""
    with source.open("rb", buffering=0) as reader, target.open("wb", buffering=0) as writer:
        size, done, flushed = os.fstat(reader.fileno()).st_size, 0, 0
        while done < size:
            check()
            moved = os.sendfile(writer.fileno(), reader.fileno(), done, min(_CHUNK, size - done))
            if moved == 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            done += moved
            if done - flushed >= _FLUSH_EVERY:
                os.fdatasync(writer.fileno())
                flushed = done
            progress(done, size)
        os.fsync(writer.fileno())


def place(part: Path, target: Path) -> bool:
    """Let ``target`` be the file ``part``, in the same folder; False when there is one already."""
    try:
        os.link(part, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        # No hard links here (exFAT, some network shares): a look and a rename, apart by microseconds.
        if os.path.lexists(target):
            return False
        part.rename(target)
    return True


def remove(path: Path, *, dry_run: bool = False) -> int:
    """Remove a file and return the bytes on disk that this frees; 0 when it was gone or has another name left."""
    try:
        found = path.stat(follow_symlinks=False)
        if not dry_run:
            path.unlink()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise disk.failure(error, path) from error
    return freed_by(found)


def freed_by(found: os.stat_result) -> int:
    """Bytes on disk that go with a file: none while a work file is linked to the same bytes."""
    return 0 if found.st_nlink > 1 else on_disk(found)


def on_disk(found: os.stat_result) -> int:
    """Bytes of the disk that a file takes: of one that is still being filled, those that are there or set aside."""
    return found.st_blocks * 512
