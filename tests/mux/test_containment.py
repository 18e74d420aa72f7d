"""The walls, tried from inside by a process of their own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from downloader.mux import containment
from downloader.mux.engine import Engine

INSIDE = """
import ctypes, json, os, resource, socket, subprocess, sys
from pathlib import Path
from downloader.mux import containment

walls = containment.enclose(Path(sys.argv[1]).parent)
if sys.argv[2] == "order":
    containment.confine(Path(sys.argv[1]), 1 << 20, 1, final=True)

def attempt(act):
    try:
        act()
    except (OSError, MemoryError, ValueError) as error:
        return type(error).__name__
    return "done"

def spin():
    while True:
        pass

def write():
    with open(sys.argv[1] + "/large", "wb") as file:
        file.write(bytes(2 << 20))

def watch(path):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.inotify_add_watch(libc.inotify_init(), path.encode(), 0x100) < 0:
        raise OSError(ctypes.get_errno(), "refused")

acts = {
    "socket": lambda: socket.socket(),
    "program": lambda: os.execv("/bin/true", ["true"]),
    "signal": lambda: os.kill(os.getppid(), 0),
    "elsewhere": lambda: open("/etc/hostname").close(),
    "sibling": lambda: open(sys.argv[1] + "/../other/secret").close(),
    "listing": lambda: os.listdir(sys.argv[1] + "/.."),
    "watch": lambda: watch(sys.argv[1] + "/.."),
    "more": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20)),
    "own": lambda: open(sys.argv[1] + "/file", "w").close(),
    "large": write,
    "memory": lambda: bytearray(2 << 30),
    "spin": spin,
}
print(json.dumps({"walls": walls, **{name: attempt(acts[name]) for name in sys.argv[3:]}}), flush=True)
"""


def inside(work: Path, *acts: str, around: str = "order") -> tuple[dict[str, Any], int]:
    done = subprocess.run(
        [sys.executable, "-c", INSIDE, str(work), around, *acts],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return json.loads(done.stdout) if done.stdout else {"error": done.stderr}, done.returncode


@pytest.fixture
def work(tmp_path: Path) -> Path:
    for name in ("own", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "other/secret").write_text("secret")
    return tmp_path / "own"


def test_nothing_leads_out(work: Path) -> None:
    found, _ = inside(work, "socket", "program", "signal", "watch", "elsewhere", "sibling", "listing", "own")

    walls = found.pop("walls")
    assert found["own"] == "done"
    if walls["seccomp"] == "on":
        assert {found[name] for name in ("socket", "program", "signal", "watch")} == {"PermissionError"}
    if walls["landlock"] == "on":
        assert {found[name] for name in ("elsewhere", "sibling", "listing")} == {"PermissionError"}
    assert all(state == "on" or state.startswith("off: ") for state in walls.values())
    assert "on" in (walls["seccomp"], walls["namespace"])


def test_between_orders_the_other_jobs_cannot_be_found(work: Path) -> None:
    found, _ = inside(work, "elsewhere", "listing", "watch", "own", around="child")

    walls = found.pop("walls")
    assert found["own"] == "done"
    if walls["landlock"] == "on":
        assert {found[name] for name in ("elsewhere", "listing")} == {"PermissionError"}
    if walls["seccomp"] == "on":
        assert found["watch"] == "PermissionError"


def test_memory_and_files_are_limited(work: Path) -> None:
    found, _ = inside(work, "memory", "more", "large")

    assert found["more"] == "ValueError"
    assert found["memory"] == "MemoryError"
    assert found["large"] == "OSError"


def test_processor_time_is_limited(work: Path) -> None:
    _, status = inside(work, "spin")

    assert -status in (signal.SIGXCPU, signal.SIGKILL)


def test_a_fork_ends_with_its_parent() -> None:
    reader, writer = os.pipe()
    middle = os.fork()
    if not middle:
        owner = os.getpid()
        if not os.fork():
            containment.die_with(owner)
            os.write(writer, b"up")
            signal.pause()
        signal.pause()
    os.close(writer)

    assert os.read(reader, 2) == b"up"
    os.kill(middle, signal.SIGKILL)
    os.waitpid(middle, 0)

    assert os.read(reader, 1) == b""  # its end of the pipe is closed
    os.close(reader)


def test_the_engine_says_which_walls_stand(engine: Engine) -> None:
    assert set(engine.walls()) == {"namespace", "privileges", "seccomp", "landlock"}
