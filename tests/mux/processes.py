"""Looking at the processes of an engine from outside."""

import os
import select
import signal
from pathlib import Path

from downloader.mux.engine import Engine


def child_of(engine: Engine) -> int:
    """The pid of the engine's idle child, once it is up and its fork waits."""
    engine.walls()
    return engine._idle[-1]._process.pid


def fork_of(child: int) -> int:
    """The pid of the fork that waits for, or works on, an order of ``child``."""
    while True:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _parent(entry) == child:
                return int(entry.name)


def stopped_fork(engine: Engine) -> int:
    """The engine's next fork, stopped: an order given now gets no answer until it goes on."""
    fork = fork_of(child_of(engine))
    os.kill(fork, signal.SIGSTOP)
    return fork


def ended(pid: int, seconds: float = 5.0) -> bool:
    """Whether the process ends within ``seconds``."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    watch = select.poll()
    watch.register(descriptor, select.POLLIN)
    found = bool(watch.poll(seconds * 1000))
    os.close(descriptor)
    return found


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0
