"""Connections to Postgres: a small pool, one round trip per call, our errors instead of psycopg2's."""

import queue
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files
from typing import Any

import psycopg2
import psycopg2.extras
import psycopg2.pool

from downloader.errors import StoreUnavailable

Row = dict[str, Any]

# A server that vanished without a word (half-open TCP) is noticed within about ten seconds.
_CONNECT: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "downloader",
    "options": "-c statement_timeout=30000 -c timezone=UTC",
}
_WAIT_FOR_CONNECTION = 10.0


class Database:
    """A pool of at most ``size`` connections to ``dsn``; safe in threads and, once patched, in greenlets."""

    def __init__(self, dsn: str, *, size: int = 8) -> None:
        self._dsn = dsn
        self._free: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(size):
            self._free.put(None)

    def rows(self, sql: str, values: Mapping[str, Any] | None = None) -> list[Row]:
        """Run ``sql`` in one round trip and one transaction; the rows of its last statement.

        All our statements are guarded, so one that met a dead connection runs once more on a new one. Raises
        StoreUnavailable when Postgres is away, read-only, or all connections stay busy.
        """
        try:
            connection = self._free.get(timeout=_WAIT_FOR_CONNECTION)
        except queue.Empty:
            raise StoreUnavailable("All connections to Postgres are busy; try again shortly.") from None
        try:
            if connection is not None:
                try:
                    return self._run(connection, sql, values)
                except (psycopg2.OperationalError, psycopg2.InterfaceError):
                    _close(connection)
                    connection = None
            connection = self._connect()
            return self._run(connection, sql, values)
        except (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.errors.ReadOnlySqlTransaction) as error:
            if connection is not None:
                _close(connection)
                connection = None
            raise StoreUnavailable(f"Postgres cannot be used: {_first_line(error)}") from error
        except BaseException:
            # A greenlet may be killed between query and answer: such a connection is never used again.
            if connection is not None and connection.info.transaction_status != _IDLE:
                _close(connection)
                connection = None
            raise
        finally:
            self._free.put(connection)

    def close(self) -> None:
        """Close the connections that are not in use."""
        while True:
            try:
                connection = self._free.get_nowait()
            except queue.Empty:
                return
            if connection is not None:
                _close(connection)

    def _connect(self) -> Any:
        connection = psycopg2.connect(self._dsn, **_CONNECT)
        connection.autocommit = True
        return connection

    @staticmethod
    def _run(connection: Any, sql: str, values: Mapping[str, Any] | None) -> list[Row]:
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            if cursor.description is None:
                return []
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


_IDLE = psycopg2.extensions.TRANSACTION_STATUS_IDLE


def named(file: str) -> dict[str, str]:
    """The statements of a .sql file of this folder by the names in their ``-- name:`` lines."""
    text = (files("downloader.store") / file).read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for part in text.split("-- name: ")[1:]:
        name, _, body = part.partition("\n")
        lines = [line for line in body.splitlines() if not line.lstrip().startswith("--")]
        found[name.strip()] = "\n".join(lines).strip()
    return found


def _close(connection: Any) -> None:
    with suppress(psycopg2.Error):
        connection.close()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
