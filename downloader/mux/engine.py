"""The engine: warm contained children, one for each order at a time, watched and killed from outside.

An order has a process of its own, forked before it comes, when it is large or when there is time; small ones that come
without a pause share one, a few at a time. This side never loads FFmpeg. A child that dies, hangs or outlives its time
is killed with all it started, and the order ends with EngineCrashed; the next order gets a new child.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from downloader import errors
from downloader.errors import EngineCrashed, TimedOut
from downloader.mux.order import Advanced, Begun, Broken, Exited, Failed, Finished, Idle, Message, Order, Ready

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]);"
    "from downloader.mux.child import main; main(int(sys.argv[1]), sys.argv[3])"
)
_TURN_SECONDS = 0.1
_START_SECONDS = 30.0
_END_SECONDS = 1.0
_RECEIVE = 1 << 16
_SLOWEST = 32 << 20  # bytes per second at which a file may be moved to make room for its index, without a word
_LONGEST = 1 << 22  # bytes of one message
_SMALL = 4 << 20  # bytes of tracks up to which an order may share its process with others
_QUIET_SECONDS = 0.25  # after which there is time for a process of its own
_decode = msgspec.json.Decoder(Message).decode

log = structlog.get_logger(__name__)


class Engine:
    """Runs orders, each in a child; children are kept warm. Safe from any thread.

    ``stall_seconds`` (more for large media) without a word from the order is a hang; ``wall_seconds`` is the most that
    any order may take. Below ``root`` lie the folders of all orders; children see no other files.
    """

    def __init__(
        self, *, stall_seconds: float = 60.0, wall_seconds: float = 6 * 3600.0, root: Path | None = None
    ) -> None:
        self._root = root
        self._stall = stall_seconds
        self._wall = wall_seconds
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._closed = False

    def warm(self) -> None:
        """Start a child ahead of the first order; returns at once."""
        self._put(_Child(self._root))

    def walls(self) -> dict[str, str]:
        """Which measures of containment hold on this machine: name → "on" or why not. Starts a child if none is."""
        child = self._get()
        try:
            return child.ready()
        finally:
            self._put(child)

    def run(self, order: Order, check: Callable[[], None], progress: Callable[[int, int], None]) -> Finished:
        """Have ``order`` done. ``check()`` is called every tenth of a second and ends the order by raising.

        Raises what the order failed with, EngineCrashed when the child died or hung, TimedOut beyond the wall time.
        """
        child = self._get()
        whole = False
        try:
            walls = child.ready(check)
            if not child.announced:
                child.announced = True
                log.info("mux.ready", **walls)
            order = msgspec.structs.replace(order, alone=child.quiet() or _size(order) > _SMALL)
            if order.alone and child.used:
                child.refresh()
                child.ready(check)
            outcome = self._watch(child, order, check, progress)
            whole = True
        finally:
            if whole:
                self._put(child)
            else:
                child.kill()
                self._replace()
        if isinstance(outcome, Failed):
            raise _error(outcome)
        return outcome

    def close(self) -> None:
        """End all idle children; those at work end with their orders."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for child in idle:
            child.kill()

    def _watch(
        self, child: "_Child", order: Order, check: Callable[[], None], progress: Callable[[int, int], None]
    ) -> Finished | Failed:
        child.send(order)
        patience = self._stall + _size(order) / _SLOWEST
        started = heard = time.monotonic()
        begun = False
        while True:
            messages = child.receive(_TURN_SECONDS)
            check()
            now = time.monotonic()
            heard = now if messages else heard
            for message in messages:
                if isinstance(message, (Finished, Failed)):
                    return message
                if isinstance(message, Advanced):
                    progress(message.done, message.total)
                elif isinstance(message, Broken):
                    log.error("mux.broken", trace=message.trace)
                elif isinstance(message, Begun):
                    begun = True
                elif isinstance(message, Exited) and begun:  # else a fork ended while it waited, and was replaced
                    raise EngineCrashed(f"The muxer died on this media ({_how(message.status)}).")
            if now - started > self._wall:
                raise TimedOut("Making the file took longer than it may.")
            if now - heard > patience:
                raise EngineCrashed("The muxer hung on this media.")

    def _get(self) -> "_Child":
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.alive():
                    return child
                child.kill()
        return _Child(self._root)

    def _put(self, child: "_Child") -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(child)
                return
        child.kill()

    def _replace(self) -> None:
        with self._lock:
            short = not self._idle and not self._closed
        if short:
            self._put(_Child(self._root))


class _Child:
    """A running downloader.mux.child, in a session of its own so that it is killed with its forks."""

    def __init__(self, root: Path | None) -> None:
        self._channel, theirs = socket.socketpair()
        self._buffer = b""
        self._walls: dict[str, str] | None = None
        self._working = False  # the last order has not been cleared away yet
        self._rested = 0.0  # when the last order was given
        self.used = False  # its fork has done an order
        self.announced = False  # its walls are in the log
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _BOOT, str(theirs.fileno()), json.dumps(sys.path), str(root or "")],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._channel.settimeout(_START_SECONDS)

    def ready(self, check: Callable[[], None] = lambda: None) -> dict[str, str]:
        """Wait until it can take an order; which walls stand. Raises EngineCrashed when it does not come up."""
        deadline = time.monotonic() + _START_SECONDS
        while self._walls is None or self._working:
            for message in self.receive(_TURN_SECONDS):
                if isinstance(message, Ready):
                    self._walls = message.walls
                elif isinstance(message, Broken):
                    log.error("mux.broken", trace=message.trace)
            check()
            if time.monotonic() > deadline:
                raise EngineCrashed("The muxer does not start.")
        return self._walls

    def send(self, order: Order) -> None:
        """Give it an order; raises EngineCrashed when it is gone."""
        self._rested = time.monotonic()
        self.used = True
        self._send(msgspec.json.encode(order) + b"\n")

    def quiet(self) -> bool:
        """Whether it had no order for a while."""
        return time.monotonic() - self._rested > _QUIET_SECONDS

    def refresh(self) -> None:
        """Have its fork replaced by one that has done nothing; raises EngineCrashed when it is gone."""
        self._send(b"\n")

    def _send(self, line: bytes) -> None:
        self._working = True
        try:
            self._channel.sendall(line)
        except OSError:
            raise EngineCrashed("The muxer died.") from None

    def receive(self, seconds: float) -> list[Message]:
        """What it said, after waiting at most ``seconds`` for it; raises EngineCrashed when it is gone."""
        waiting = select.poll()
        waiting.register(self._channel, select.POLLIN)
        if not waiting.poll(seconds * 1000):
            return []
        try:
            received = self._channel.recv(_RECEIVE)
        except OSError:
            received = b""
        if not received:
            raise EngineCrashed("The muxer died.")
        *lines, self._buffer = (self._buffer + received).split(b"\n")
        try:
            messages = [_decode(line) for line in lines]
        except (msgspec.DecodeError, ValueError):
            raise EngineCrashed("The muxer talks nonsense.") from None
        if len(self._buffer) > _LONGEST:
            raise EngineCrashed("The muxer talks without end.")
        for message in messages:
            if isinstance(message, (Idle, Exited)):
                self._working = False
                self.used = isinstance(message, Idle)
        return messages

    def alive(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it and all it started, at once; when this returns, nothing of it writes any more."""
        with contextlib.suppress(ProcessLookupError):
            if self.alive():
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._channel.settimeout(_END_SECONDS)
        with contextlib.suppress(OSError):
            while self._channel.recv(_RECEIVE):
                pass  # the end comes when the fork's end of the socket is closed as well
        self._channel.close()


def _size(order: Order) -> int:
    return sum(track.size for track in order.tracks)


def _how(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"


def _error(failed: Failed) -> errors.DownloadError:
    kind = getattr(errors, failed.error, errors.MediaInvalid)
    found: errors.DownloadError = kind(failed.message)
    return found
