"""The walls around FFmpeg. Two sets: around the child for good, and around every order's fork.

Around the child: no network, no new program, no new privilege, no look at other processes (seccomp; a network
namespace of its own where the process may make one), and no core file. Around a fork: only the job's own folder
(Landlock, Linux 5.13 and later), limits on memory, CPU time and the size of files, and death with its parent.
What the machine does not offer is left out and said: ``enclose`` returns which walls stand, ``downloader doctor`` and
the log show it.
"""

import ctypes
import os
import resource
from pathlib import Path

from downloader.mux import landlock, seccomp

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWNET = 0x40000000
_SIGKILL = 9

MEMORY_LIMIT = 1 << 30
"""Bytes of address space that an order may add to what the child holds already."""

_libc = ctypes.CDLL(None, use_errno=True)


def enclose() -> dict[str, str]:
    """Put the walls around this process for good; which stand, by name."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    walls = {"namespace": "on" if _libc.unshare(_CLONE_NEWNET) == 0 else "off: the process may not make one"}
    walls["privileges"] = "on" if _prctl(_PR_SET_NO_NEW_PRIVS, 1) else "off: the kernel refuses"
    walls["seccomp"] = seccomp.install()
    walls["landlock"] = landlock.offered()
    return walls


def die_with(parent: int) -> None:
    """Have this process, a fork of ``parent``, killed when its parent ends."""
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def confine(work: Path, output_limit: int, cpu_limit: int) -> None:
    """Put the walls of one order around this fork: ``output_limit`` bytes a file, ``cpu_limit`` seconds."""
    _limit(resource.RLIMIT_FSIZE, output_limit)
    _limit(resource.RLIMIT_CPU, cpu_limit)
    _limit(resource.RLIMIT_AS, _address_space() + MEMORY_LIMIT)
    landlock.restrict(work)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _address_space() -> int:
    """Bytes of address space in use now (proc(5): the first field of statm, in pages)."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    return pages * resource.getpagesize()


def _prctl(option: int, value: int) -> bool:
    return bool(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) == 0)
