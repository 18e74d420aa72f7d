"""Two calls of the C library that Python lacks. Both are hints: where one is missing or fails, nothing is lost."""

import ctypes

_LIBC = ctypes.CDLL(None)
_SYNC_FILE_RANGE_WRITE = ctypes.c_uint(2)
_M_TRIM_THRESHOLD = ctypes.c_int(-1)
_START = _TO_THE_END = ctypes.c_int64(0)


def start_writeback(fd: int) -> None:
    """Have the kernel begin to write the file's dirty pages: sync_file_range(2). Promises nothing about the disk."""
    call = getattr(_LIBC, "sync_file_range", None)
    if call is not None:
        call(ctypes.c_int(fd), _START, _TO_THE_END, _SYNC_FILE_RANGE_WRITE)


def keep_freed_memory(size: int) -> None:
    """Have malloc keep up to ``size`` freed bytes at the end of its heap: mallopt(3).

    By default it gives them back from 128 KiB on, and each batch of a fast download then faults its pages in anew.
    """
    call = getattr(_LIBC, "mallopt", None)  # glibc has it, musl has not
    if call is not None:
        call(_M_TRIM_THRESHOLD, ctypes.c_int(size))
