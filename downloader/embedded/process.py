"""One server of ours as a process: its lock, its keeper, its end."""

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

KEEPER = Path(__file__).with_name("keeper.py")
LEAVE_SECONDS = 15.0  # a server whose owner was killed is gone by then
OWNER_SECONDS = 1.0  # an owner that is still there then is not just being killed
GRACE_SECONDS = 8.0
POLL_SECONDS = 0.01
SOCKET_PATH_BYTES = 90  # sun_path holds 107 and Postgres adds its file name
SOCKET_PREFIX = "typetype-"


class ServerFailed(Exception):
    """A private server did not start or stop; the message says why and what to do."""


class Lock:
    """The right to run a server in a folder.

    It is an flock that keeper, server and all children of the server inherit: it is free when the last of them is gone,
    whoever was killed. The file names the owner's process id and the time that one started.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "lock"

    def take(self) -> int:
        """The descriptor of the lock; waits for a server that is leaving, ends one that lost its keeper.

        Raises ServerFailed when the owner of the server lives.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._acquire(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _acquire(self, descriptor: int) -> None:
        if not self._await(descriptor, LEAVE_SECONDS):
            _kill_all_in(self.folder)
            if not self._await(descriptor, LEAVE_SECONDS):
                raise ServerFailed(f"An earlier server still holds {self.path}: end the processes that have it open.")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _identity(os.getpid()).encode(), 0)

    def _await(self, descriptor: int, seconds: float) -> bool:
        """Whether the lock could be taken within ``seconds``."""
        started = time.monotonic()
        while not self._try(descriptor):
            waited = time.monotonic() - started
            if waited > OWNER_SECONDS:
                self._refuse_living_owner(descriptor)
            if waited > seconds:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _refuse_living_owner(self, descriptor: int) -> None:
        owner = os.pread(descriptor, 64, 0).decode()
        if owner and owner == _identity(int(owner.split()[0])):
            raise ServerFailed(f"Process {owner.split()[0]} already runs a private server in {self.folder}.")

    @staticmethod
    def _try(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class Kept:
    """A server under its keeper. ``name`` is for messages; the log of its last run is ``folder/log``."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self._keeper: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What the server wrote since its start."""
        return self.folder / "log"

    def start(self, argv: list[str], stop_signal: int, lock: int) -> None:
        """Start the keeper with ``argv``; it inherits ``lock``, and our copy of that is closed."""
        keeper = [sys.executable, "-I", "-S", str(KEEPER), f"--stop-signal={stop_signal}", f"--grace={GRACE_SECONDS}"]
        try:
            with self.log.open("wb") as log:
                self._keeper = subprocess.Popen(
                    [*keeper, f"--hold-fd={lock}", "--", *argv],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    pass_fds=(lock,),
                    start_new_session=True,  # Ctrl-C at a terminal is the owner's to handle
                )
        finally:
            os.close(lock)

    def await_ready(self, answers: Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait until ``answers()``; raises ServerFailed with the end of the log when it does not in time."""
        deadline = time.monotonic() + seconds
        while not answers():
            if not self.alive() or time.monotonic() > deadline:
                tail = self.log.read_text(encoding="utf-8", errors="replace").strip()[-2000:]
                raise ServerFailed(f"The private {self.name} in {self.folder} did not start. It says:\n{tail}")
            time.sleep(POLL_SECONDS)

    def alive(self) -> bool:
        """Whether the keeper runs (it starts a server that died again)."""
        return self._keeper is not None and self._keeper.poll() is None

    def server_pid(self) -> int | None:
        """The process id of the server itself, or None while it is away."""
        if self._keeper is None:
            return None
        with suppress(OSError, ValueError):
            children = Path(f"/proc/{self._keeper.pid}/task/{self._keeper.pid}/children").read_text(encoding="ascii")
            return int(children.split()[0]) if children.split() else None
        return None

    def stop(self) -> None:
        """Cut the lifeline and wait for the end; does nothing when it does not run."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        assert keeper.stdin is not None  # noqa: S101 - it was opened as a pipe
        keeper.stdin.close()
        try:
            keeper.wait(2 * GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            _kill_all_in(self.folder)
            keeper.wait()


def socket_folder(folder: Path) -> Path:
    """An empty folder for the server's socket: ``folder/run``, or a temporary one when that path is too long.

    The same at every start, unless a stranger took the temporary name. ``run`` links to a temporary one: what an
    earlier, killed run left behind is removed.
    """
    run = folder / "run"
    remove_socket_folder(folder)
    if len(os.fsencode(run)) <= SOCKET_PATH_BYTES:
        run.mkdir(mode=0o700)
        return run
    temporary = _temporary(folder)
    run.symlink_to(temporary)
    return temporary


def _temporary(folder: Path) -> Path:
    named = Path(tempfile.gettempdir()) / (SOCKET_PREFIX + hashlib.sha256(os.fsencode(folder)).hexdigest()[:16])
    shutil.rmtree(named, ignore_errors=True)
    try:
        named.mkdir(mode=0o700)
    except OSError:
        return Path(tempfile.mkdtemp(prefix=SOCKET_PREFIX))
    return named


def remove_socket_folder(folder: Path) -> None:
    """Remove what ``socket_folder`` made."""
    run = folder / "run"
    if run.is_symlink():
        target = run.readlink()
        if target.name.startswith(SOCKET_PREFIX):
            shutil.rmtree(target, ignore_errors=True)
        run.unlink()
    elif run.exists():
        shutil.rmtree(run)


def _identity(pid: int) -> str:
    """Process id and start time (clock ticks since boot): names one process for good. Empty for a dead one."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    after_name = stat.rpartition(")")[2].split()
    return "" if after_name[0] in "ZX" else f"{pid} {after_name[19]}"


def _kill_all_in(folder: Path) -> None:
    """SIGKILL to every process whose working directory is ``folder`` or below: keeper and servers, nobody else."""
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if link.readlink().is_relative_to(folder) and int(link.parent.name) != os.getpid():
                os.kill(int(link.parent.name), signal.SIGKILL)
