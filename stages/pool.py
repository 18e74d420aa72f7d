"""A supervisor: starts processes by exec, restarts the dead with backoff, drains them at SIGTERM.

It imports nothing but the standard library, so that it stays small and nothing in it can break. Its children hold the
reading end of a pipe whose writing end is only here: when the supervisor dies, however it dies, they notice and drain.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from types import FrameType

# A child that lived at least this long is restarted at once; a shorter life costs a growing pause.
_HEALTHY_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 30.0
_KILL_AFTER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process to keep alive. ``stage`` pools are told who they are and whom they succeed."""

    name: str
    argv: tuple[str, ...]
    stage: bool = True


@dataclass(slots=True)
class _Child:
    spec: ProcessSpec
    process: subprocess.Popen[bytes] | None = None
    worker: str = ""
    dead: list[str] = field(default_factory=list)
    started: float = 0.0
    failures: int = 0
    restart_at: float = 0.0


class Supervisor:
    """Keeps the processes of ``specs`` alive until SIGTERM, SIGINT, or the end of its own lifeline."""

    def __init__(self, specs: list[ProcessSpec], *, grace: float, lifeline: int | None = None) -> None:
        self._children = [_Child(spec) for spec in specs]
        self._grace = grace
        self._outer_lifeline = lifeline
        self._reading, self._writing = os.pipe()
        self._wake_reading, self._wake_writing = socket.socketpair()
        self._wake_writing.setblocking(False)
        self._ending = False

    def run(self) -> int:
        """Supervise until told to end; 0 when every child drained in time, 1 when one had to be killed."""
        signal.set_wakeup_fd(self._wake_writing.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        while not self._ending:
            for child in self._children:
                self._tend(child)
            self._wait(self._until_next_start())
        return self._drain()

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._ending = True

    def _tend(self, child: _Child) -> None:
        """Notice a death, start what is not running."""
        now = time.monotonic()
        if child.process is not None and child.process.poll() is not None:
            self._say(f"{child.spec.name} (pid {child.process.pid}) ended with {_manner(child.process.returncode)}")
            child.failures = 0 if now - child.started >= _HEALTHY_SECONDS else child.failures + 1
            # The first death costs nothing: its steps are to run again within a second.
            pause = 0.25 * 2**child.failures if child.failures > 1 else 0.0
            child.restart_at = now + min(pause, _LONGEST_PAUSE_SECONDS)
            child.dead = [*child.dead, child.worker][-4:]
            child.process = None
        if child.process is None and now >= child.restart_at:
            self._start(child)

    def _start(self, child: _Child) -> None:
        argv = [sys.executable, *child.spec.argv, "--lifeline-fd", str(self._reading)]
        if child.spec.stage:
            child.worker = f"{socket.gethostname()}:{child.spec.name}:{uuid.uuid4().hex[:12]}"
            argv += ["--worker-id", child.worker]
            for dead in child.dead:
                argv += ["--succeeds", dead]
        # Its own session: a Ctrl-C on the terminal reaches the supervisor, which then drains in order.
        child.process = subprocess.Popen(argv, pass_fds=(self._reading,), start_new_session=True)
        child.started = time.monotonic()
        if child.failures == 0:
            child.dead = []

    def _until_next_start(self) -> float:
        now = time.monotonic()
        waiting = [child.restart_at - now for child in self._children if child.process is None]
        return max(0.0, min([*waiting, 5.0]))

    def _wait(self, seconds: float) -> None:
        """Sleep until a signal comes, our own supervisor dies, or ``seconds`` are over."""
        import select  # noqa: PLC0415 - here only

        watched = [self._wake_reading.fileno()]
        if self._outer_lifeline is not None:
            watched.append(self._outer_lifeline)
        ready, _, _ = select.select(watched, [], [], seconds)
        if self._wake_reading.fileno() in ready:
            self._wake_reading.recv(4096)
        if self._outer_lifeline in ready:
            self._ending = True

    def _drain(self) -> int:
        """Ask every child to end, wait for the grace time, kill what is left."""
        living = [child.process for child in self._children if child.process is not None]
        for process in living:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._grace + _KILL_AFTER_SECONDS
        killed = 0
        for process in living:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                killed += 1
                process.kill()
                process.wait()
        return 1 if killed else 0

    @staticmethod
    def _say(sentence: str) -> None:
        print(f"supervisor: {sentence}", file=sys.stderr, flush=True)  # noqa: T201 - no logger here on purpose


def _manner(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"status {code}"
