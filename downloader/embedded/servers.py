"""Both private servers together, and each by itself as a context."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from os import kill
from pathlib import Path
from typing import TypeVar

from downloader.embedded.postgres_server import Postgres
from downloader.embedded.process import ServerFailed
from downloader.embedded.valkey_server import Valkey

T = TypeVar("T")


class Servers:
    """A private Postgres and Valkey in ``folder``; either can be left out. URLs stay the same over restarts."""

    def __init__(
        self, folder: Path, *, fsync: bool = True, with_postgres: bool = True, with_valkey: bool = True
    ) -> None:
        self.postgres = Postgres(folder / "postgres", fsync=fsync) if with_postgres else None
        self.valkey = Valkey(folder / "valkey") if with_valkey else None

    def start(self) -> None:
        """Start both; raises ServerFailed, with neither left running."""
        try:
            if self.postgres:
                self.postgres.start()
            if self.valkey:
                self.valkey.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End both."""
        if self.valkey:
            self.valkey.stop()
        if self.postgres:
            self.postgres.stop()

    def lost(self) -> Path | None:
        """The folder of a server that died too often to be started again, or None."""
        if self.postgres and not self.postgres.alive():
            return self.postgres.folder
        return self.valkey.folder if self.valkey and not self.valkey.alive() else None

    @property
    def database_url(self) -> str:
        """The DSN of the private Postgres."""
        return _present(self.postgres).dsn

    @property
    def redis_url(self) -> str:
        """The URL of the private Valkey."""
        return _present(self.valkey).url

    def restart_postgres(self) -> str:
        """Stop and start Postgres; its DSN."""
        _present(self.postgres).stop()
        return _present(self.postgres).start()

    def restart_valkey(self) -> str:
        """Stop and start Valkey, which is empty then; its URL."""
        _present(self.valkey).stop()
        return _present(self.valkey).start()

    def kill_postgres(self) -> None:
        """SIGKILL to the postmaster; its keeper starts it again."""
        _kill(_present(self.postgres).server_pid())

    def kill_valkey(self) -> None:
        """SIGKILL to Valkey; its keeper starts it again, empty."""
        _kill(_present(self.valkey).server_pid())


@contextmanager
def postgres(folder: Path, *, fsync: bool = True) -> Iterator[str]:
    """A private Postgres in ``folder``; gives its DSN."""
    server = Postgres(folder, fsync=fsync)
    try:
        yield server.start()
    finally:
        server.stop()


@contextmanager
def valkey(folder: Path) -> Iterator[str]:
    """A private Valkey in ``folder``; gives its URL."""
    server = Valkey(folder)
    try:
        yield server.start()
    finally:
        server.stop()


def _present(server: T | None) -> T:
    if server is None:
        raise ServerFailed("This private server was left out.")
    return server


def _kill(pid: int | None) -> None:
    if pid is None:
        raise ServerFailed("This private server does not run.")
    kill(pid, signal.SIGKILL)
