"""Connections to Postgres: a small pool, one round trip per call, our errors instead of psycopg2's."""

import queue
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psycopg2
import psycopg2.extensions
import psycopg2.extras
import psycopg2.pool

from downloader.errors import NotMigrated, StoreUnavailable
from downloader.store.statements import Statement

Row = dict[str, Any]

# A server that vanished without a word (half-open TCP) is noticed within about ten seconds.
_CONNECT: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "downloader",
    # Our prepared statements find their rows by key: one plan fits all values. A plan that was made while a table was
    # small is kept when it is large, so it had better use the index at once.
    "options": "-c statement_timeout=30000 -c timezone=UTC -c plan_cache_mode=force_generic_plan -c enable_seqscan=off",
}
_WAIT_FOR_CONNECTION = 5.0
# Read-only: after a failover a connection may still lead to what is a standby by now.
_UNUSABLE = (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.errors.ReadOnlySqlTransaction)


class Database:
    """A pool of at most ``size`` connections to ``dsn``; safe in threads and, once patched, in greenlets."""

    def __init__(self, dsn: str, *, size: int = 8) -> None:
        # What the DSN says of options (a search path, say) stands beside ours.
        given = psycopg2.extensions.parse_dsn(dsn).get("options", "")
        self._dsn = psycopg2.extensions.make_dsn(dsn, **_CONNECT | {"options": f"{given} {_CONNECT['options']}"})
        self._free: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(size):
            self._free.put(None)
        self._prepared: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()

    def rows(self, sql: str, values: Mapping[str, Any] | None = None) -> list[Row]:
        """Run ``sql`` in one round trip and one transaction; the rows of its last statement.

        All our statements are guarded, so one that met a useless connection runs once more on a new one. Raises
        StoreUnavailable when Postgres is away, read-only, not migrated or takes too long, or all connections stay busy.
        """
        try:
            connection = self._free.get(timeout=_WAIT_FOR_CONNECTION)
        except queue.Empty:
            raise StoreUnavailable("All connections to Postgres are busy; try again shortly.") from None
        try:
            if connection is not None:
                try:
                    return self._run(connection, sql, values)
                except _UNUSABLE:
                    _close(connection)
                    connection = None
            connection = self._connect()
            return self._run(connection, sql, values)
        except _UNUSABLE as error:
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
        connection = psycopg2.connect(self._dsn)
        connection.autocommit = True
        self._prepared[connection] = set()
        return connection

    def _run(self, connection: Any, sql: str, values: Mapping[str, Any] | None) -> list[Row]:
        try:
            with connection.cursor() as cursor:
                if isinstance(sql, Statement) and sql.prepare:
                    self._execute_prepared(connection, cursor, sql, values)
                else:
                    cursor.execute(sql, values)
                if cursor.description is None:
                    return []
                names = [column.name for column in cursor.description]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn) as error:
            raise NotMigrated from error
        except psycopg2.errors.QueryCanceled as error:
            # An OperationalError as well, but run again it would take as long again.
            raise StoreUnavailable(f"Postgres gave a statement up: {_first_line(error)}") from error

    def _execute_prepared(
        self, connection: Any, cursor: Any, statement: Statement, values: Mapping[str, Any] | None
    ) -> None:
        """Plan once a connection what is asked again and again: planning costs more than running it."""
        known = self._prepared[connection]
        try:
            if statement.name not in known:
                for prepare in statement.prepare:
                    with suppress(psycopg2.errors.DuplicatePreparedStatement):  # by another client of the same pooler
                        cursor.execute(prepare)
                known.add(statement.name)
            cursor.execute(statement.execute, values)
        except psycopg2.errors.InvalidSqlStatementName:
            # A pooler between us and Postgres gave us another session: plain text works everywhere.
            known.discard(statement.name)
            cursor.execute(str(statement), values)
        except psycopg2.errors.FeatureNotSupported:
            # "cached plan must not change result type": a migration has changed a table under it.
            known.discard(statement.name)
            for plan in statement.plans:
                with suppress(psycopg2.errors.InvalidSqlStatementName):
                    cursor.execute(f"DEALLOCATE {plan}")
            cursor.execute(str(statement), values)


_IDLE = psycopg2.extensions.TRANSACTION_STATUS_IDLE


def _close(connection: Any) -> None:
    with suppress(psycopg2.Error):
        connection.close()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
