"""Migrations: plain numbered SQL files, applied once each, in order, by however many processes start at once."""

import time
from collections.abc import Callable
from importlib.resources import files

import psycopg2
import structlog

from downloader.errors import StoreRefused, StoreUnavailable

# Any constant will do: it only has to be ours. Held for the length of the transaction.
_LOCK = 0x74_74_64_6C
# A migration that waits for a table, behind a backup say, stands in front of everybody who wants to read it. So it
# waits less than a request to web may take, and lets all of them pass before it tries again.
_LOCK_SECONDS = 2.0
_PAUSE_SECONDS = 5.0
_IN_USE = (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected)
# Nothing but text tells how a connection failed. What is not among these may pass, and one waits for it.
_REFUSALS = (
    "authentication failed",
    "does not exist",
    "no password supplied",
    "no pg_hba.conf entry",
    "not permitted to log in",
    "permission denied",
)

log = structlog.get_logger()


def migrate(dsn: str, *, lock_seconds: float = _LOCK_SECONDS, sleep: Callable[[float], None] = time.sleep) -> list[str]:
    """Bring the database up to date; returns the names of the files applied now.

    Raises StoreUnavailable: StoreRefused where waiting will not help.

    Tries again, all or nothing, for as long as others hold a table that it needs for more than ``lock_seconds``.
    """
    while True:
        try:
            return _apply(dsn, lock_seconds)
        except _IN_USE as error:
            log.warning("migration_waits", reason=_lines(error)[0], seconds=_PAUSE_SECONDS)
            sleep(_PAUSE_SECONDS)
        except psycopg2.errors.InsufficientPrivilege as error:
            raise StoreRefused(f"Postgres refuses the migrations: {_lines(error)[0]}") from error
        except psycopg2.OperationalError as error:
            raise _translated(error) from error


def _translated(error: psycopg2.OperationalError) -> StoreUnavailable:
    # One line for each address and way that was tried.
    for line in _lines(error):
        if any(word in line for word in _REFUSALS):
            return StoreRefused(f"Postgres refuses the migrations: {line}")
    return StoreUnavailable(f"Postgres cannot be reached for the migrations: {' '.join(_lines(error))}")


def _lines(error: psycopg2.Error) -> list[str]:
    return [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]


def _apply(dsn: str, lock_seconds: float) -> list[str]:
    applied = []
    connection = psycopg2.connect(dsn, connect_timeout=10, application_name="downloader migrate")
    try:
        with connection, connection.cursor() as cursor:
            # Without a limit: whoever else migrates is waited for, and nobody waits behind us.
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", (f"{lock_seconds * 1000:.0f}ms",))
            cursor.execute(
                "CREATE TABLE IF NOT EXISTS downloader_migrations"
                " (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
            )
            cursor.execute("SELECT name FROM downloader_migrations")
            known = {name for (name,) in cursor.fetchall()}
            for name, sql in migrations():
                if name not in known:
                    cursor.execute(sql)
                    cursor.execute("INSERT INTO downloader_migrations (name) VALUES (%s)", (name,))
                    applied.append(name)
    finally:
        connection.close()
    return applied


def pending(known: set[str]) -> list[str]:
    """The names of the migrations that are not among ``known``."""
    return [name for name, _ in migrations() if name not in known]


def migrations() -> list[tuple[str, str]]:
    """Every migration as (name, SQL), in order."""
    folder = files("downloader.store") / "migrations"
    found = sorted((item for item in folder.iterdir() if item.name.endswith(".sql")), key=lambda item: item.name)
    return [(item.name.removesuffix(".sql"), item.read_text(encoding="utf-8")) for item in found]
