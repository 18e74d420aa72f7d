"""The walls around FFmpeg. Two sets: around the child for good, and around every order.

Around the child and its forks: no network, no new program, no new privilege and none of root's, no look at other
processes (seccomp; a network namespace of its own where the process may make one), no file outside the folder of all
jobs and no list of what that holds (Landlock, Linux 5.13 and later), a limit on memory, no core file, and death with
the parent. Around an order: only the job's own folder (Landlock once more), limits on CPU time and the size of files.
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
_CAPABILITY_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
_CAP_DAC_OVERRIDE = 1 << 1  # root reads folders of other users by it, such as a mounted DATA_DIR

MEMORY_LIMIT = 1 << 30
"""Bytes of address space that orders may add to what the child holds already."""

_libc = ctypes.CDLL(None, use_errno=True)


def enclose(root: Path | None = None) -> dict[str, str]:
    """Put the walls around this process and its forks for good, with no file but those below ``root``; which stand."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit(resource.RLIMIT_AS, _address_space() + MEMORY_LIMIT, final=True)
    walls = {"namespace": "on" if _libc.unshare(_CLONE_NEWNET) == 0 else "off: the process may not make one"}
    dropped = _drop_capabilities() and _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    walls["privileges"] = "on" if dropped else "off: the kernel refuses"
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


def confine(work: Path, output_limit: int, cpu_limit: int, *, final: bool) -> None:
    """Put the walls of one order around this thread: ``output_limit`` bytes a file, ``cpu_limit`` seconds from now.

    The limits count for the whole process, which does one order at a time; they can be set anew unless ``final``.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_FSIZE, output_limit, final=final)
    _limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + cpu_limit, final=final)
    landlock.restrict(work)


def _limit(kind: int, value: int, *, final: bool) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value if final else hard))


def _address_space() -> int:
    """Bytes of address space in use now (proc(5): the first field of statm, in pages)."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    return pages * resource.getpagesize()


def _drop_capabilities() -> bool:
    """Give up what root may beyond other users (capabilities(7)), but for the way to its files."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then the same of the upper 32
    if _libc.capget(header, sets):
        return False
    for at in range(len(sets)):
        sets[at] &= _CAP_DAC_OVERRIDE if at < len(sets) // 2 else 0
    return bool(_libc.capset(header, sets) == 0)


def _prctl(option: int, value: int) -> bool:
    return bool(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) == 0)
