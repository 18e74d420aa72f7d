"""Landlock (landlock(7)): a thread may use one folder of the file system, and nothing else of it."""

import ctypes
import os
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_WRITE_FILE, _READ_FILE = 1 << 1, 1 << 2
_REMOVE_FILE, _MAKE_REGULAR = 1 << 5, 1 << 8
_FIRST_VERSION_RIGHTS = (1 << 13) - 1
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15  # since versions 2, 3 and 5
_ALLOWED = _WRITE_FILE | _READ_FILE | _REMOVE_FILE | _MAKE_REGULAR | _TRUNCATE  # no look at what folders hold

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _Ruleset(ctypes.Structure):
    """struct landlock_ruleset_attr, its first version."""

    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _Beneath(ctypes.Structure):
    """struct landlock_path_beneath_attr."""

    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def offered() -> str:
    """Whether the kernel has Landlock: "on", or why not."""
    return "on" if _version() > 0 else "off: the kernel does not have it"


def restrict(folder: Path) -> bool:
    """Take every other path from this thread and all it starts, and every listing of what is below ``folder``.

    False where the kernel lacks Landlock.
    """
    version = _version()
    if version < 1:
        return False
    handled = _FIRST_VERSION_RIGHTS
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL)):
        handled |= right if version >= since else 0
    attributes = _Ruleset(handled)
    rules = _libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0)
    parent = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        rule = _Beneath(_ALLOWED & handled, parent)
        if rules < 0 or _libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(rule), 0):
            raise OSError(ctypes.get_errno(), "Landlock refuses the work folder.")
        if _libc.syscall(_RESTRICT_SELF, rules, 0):
            raise OSError(ctypes.get_errno(), "Landlock refuses to restrict the process.")
    finally:
        os.close(parent)
        if rules >= 0:
            os.close(rules)
    return True


def _version() -> int:
    return int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG))
