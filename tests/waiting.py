"""Waiting for a condition with a deadline; the tests' only way to let time pass."""

import os
import select
import time
from collections.abc import Callable
from pathlib import Path


def until(condition: Callable[[], object], seconds: float = 15.0) -> object:
    """The first true value of ``condition()``; fails when there is none in ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {condition}"
        time.sleep(0.005)
    return value


def ended(pid: int, seconds: float = 15.0) -> bool:
    """Whether process ``pid`` ends within ``seconds``; the kernel tells, nothing is polled."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def processes_in(folder: Path) -> list[int]:
    """The processes whose working directory is ``folder`` or below."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if link.readlink().is_relative_to(folder.resolve()):
                found.append(int(link.parent.name))
        except OSError:
            continue
    return found
