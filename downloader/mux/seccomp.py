"""A seccomp filter (seccomp(2)): takes what a muxer never needs, such as network, programs, processes and watches.

A deny list, for the architectures below: denied calls fail with EPERM, a call of a foreign architecture (the 32-bit
door on x86-64 among them) kills. What stays open is what files, memory and threads need.
"""

import ctypes
import errno
import platform
import struct

_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_LD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_DENY = 0x00050000 | errno.EPERM
_X32_BIT = 0x40000000
_NUMBER_AT, _ARCH_AT = 0, 4  # offsets in struct seccomp_data

_SHARED = {
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "pidfd_getfd": 438,
    "process_madvise": 440,
}
_X86_64 = {
    "socket": 41,
    "connect": 42,
    "accept": 43,
    "sendmsg": 46,
    "bind": 49,
    "listen": 50,
    "socketpair": 53,
    "execve": 59,
    "kill": 62,
    "ptrace": 101,
    "pivot_root": 155,
    "chroot": 161,
    "mount": 165,
    "umount2": 166,
    "swapon": 167,
    "tkill": 200,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "inotify_add_watch": 254,
    "unshare": 272,
    "accept4": 288,
    "perf_event_open": 298,
    "fanotify_mark": 301,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    "setns": 308,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "bpf": 321,
    "execveat": 322,
    "userfaultfd": 323,
}
_AARCH64 = {
    "inotify_add_watch": 27,
    "umount2": 39,
    "mount": 40,
    "pivot_root": 41,
    "chroot": 51,
    "unshare": 97,
    "ptrace": 117,
    "kill": 129,
    "tkill": 130,
    "socket": 198,
    "socketpair": 199,
    "bind": 200,
    "listen": 201,
    "accept": 202,
    "connect": 203,
    "sendmsg": 211,
    "add_key": 217,
    "request_key": 218,
    "keyctl": 219,
    "execve": 221,
    "swapon": 224,
    "perf_event_open": 241,
    "accept4": 242,
    "fanotify_mark": 263,
    "name_to_handle_at": 264,
    "open_by_handle_at": 265,
    "setns": 268,
    "process_vm_readv": 270,
    "process_vm_writev": 271,
    "bpf": 280,
    "execveat": 281,
    "userfaultfd": 282,
}
_MACHINES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}  # AUDIT_ARCH_*


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install() -> str:
    """Install the filter for this process and all it forks; needs no_new_privs. "on", or why it is off."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return f"off: no filter for {platform.machine()}"
    code = program(*machine)
    held = ctypes.create_string_buffer(code)
    wanted = _Program(len(code) // 8, ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(wanted), 0, 0):
        return f"off: {errno.errorcode.get(ctypes.get_errno(), 'refused')}"
    return "on"


def program(arch: int, denied: dict[str, int]) -> bytes:
    """The filter as struct sock_filter after struct sock_filter (u16 code, u8 if true, u8 if false, u32 value)."""
    numbers = sorted({*denied.values(), *_SHARED.values()})
    lines = [
        (_LD_WORD, 0, 0, _ARCH_AT),
        (_JUMP_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LD_WORD, 0, 0, _NUMBER_AT),
        (_JUMP_AT_LEAST, len(numbers) + 1, 0, _X32_BIT),
    ]
    lines += [(_JUMP_EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
    lines += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _DENY)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
