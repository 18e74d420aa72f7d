"""The output's blocks on the disk: set aside before they are written to, and on their way before the file is whole.

Forcing a file to the disk takes as long as there is left to write: for 1 GB 0.4 s after a mux, 0.01 s when writing
began with it, which cost 0.1 s of the mux. Blocks that are set aside lie together and need not be found one write at a
time. Both are help only: a file system that refuses costs speed, never a job.
"""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LARGE = 32 << 20
"""Bytes of output from which the thread costs less than it brings."""

_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE: the file grows by writing alone
_START_WRITING = 2  # SYNC_FILE_RANGE_WRITE: begins, does not wait
_STRETCH = 8 << 20  # bytes: a slow disk takes them in well under a second, and for so long the thread may be stuck
_TURN_SECONDS = 0.02

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def ahead(path: Path, expected: int, *, durable: bool) -> Iterator[None]:
    """Look after the blocks of ``path``, of ``expected`` bytes, while the block makes it.

    With ``durable`` the file will be forced to the disk when it is whole, so writing begins at once.
    """
    if expected < LARGE:
        yield
        return
    whole = threading.Event()
    thread = threading.Thread(target=_work, args=(path, expected, durable, whole), daemon=True)
    thread.start()
    try:
        yield
    finally:
        whole.set()
        thread.join()
        with suppress(OSError):
            os.truncate(path, path.stat().st_size)  # gives back what was set aside beyond the end


def _work(path: Path, expected: int, durable: bool, whole: threading.Event) -> None:  # noqa: FBT001 - a thread's target
    descriptor = -1
    while descriptor < 0 and not whole.wait(_TURN_SECONDS):
        with suppress(OSError):
            descriptor = os.open(path, os.O_WRONLY)
    if descriptor < 0:
        return
    _libc.fallocate(descriptor, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(expected))
    begun = 0
    while durable and not whole.wait(_TURN_SECONDS):
        while os.fstat(descriptor).st_size - begun >= _STRETCH and not whole.is_set():
            _libc.sync_file_range(descriptor, ctypes.c_int64(begun), ctypes.c_int64(_STRETCH), _START_WRITING)
            begun += _STRETCH
    os.close(descriptor)
