"""The walls around FFmpeg. Two sets: around the child for good, and around every order.

Around the child and its forks: no network, no new program, no new privilege, no look at other processes (seccomp; a
network namespace of its own where the process may make one), no file outside the folder of all jobs (Landlock, Linux
5.13 and later), a limit on memory, no core file, and death with the parent. Around an order: only the job's own
folder (Landlock once more, on the order's thread), limits on CPU time and the size of files.
What the machine does not offer is left out and said: ``enclose`` returns which walls stand, ``downloader doctor`` and
the log show it.
"""

import ctypes
import math
import os
import resource
from pathlib import Path

from downloader.mux import landlock, seccomp

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWNET = 0x40000000
_SIGKILL = 9

MEMORY_LIMIT = 1 << 30
"""Bytes of address space that orders may add to what the child holds already."""

_libc = ctypes.CDLL(None, use_errno=True)


def enclose(root: Path | None = None) -> dict[str, str]:
    """Put the walls around this process and its forks for good, with no file but those below ``root``; which stand."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit(resource.RLIMIT_AS, _address_space() + MEMORY_LIMIT)
    walls = {"namespace": "on" if _libc.unshare(_CLONE_NEWNET) == 0 else "off: the process may not make one"}
    walls["privileges"] = "on" if _prctl(_PR_SET_NO_NEW_PRIVS, 1) else "off: the kernel refuses"
    walls["seccomp"] = seccomp.install()
    walls["landlock"] = landlock.offered()
    if root is not None:
        landlock.restrict(root)
    return walls


def die_with(parent: int) -> None:
    """Have this process, a fork of ``parent``, killed when its parent ends."""
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def confine(work: Path, output_limit: int, cpu_limit: int) -> None:
    """Put the walls of one order around this thread: ``output_limit`` bytes a file, ``cpu_limit`` seconds from now.

    The limits count for the whole process, which does one order at a time, and are set anew with each.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_FSIZE, output_limit)
    _limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + cpu_limit)
    landlock.restrict(work)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, hard))


def _address_space() -> int:
    """Bytes of address space in use now (proc(5): the first field of statm, in pages)."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    return pages * resource.getpagesize()


def _prctl(option: int, value: int) -> bool:
    return bool(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) == 0)
