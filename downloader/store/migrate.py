"""Migrations: plain numbered SQL files, applied once each, in order, by however many processes start at once."""

from importlib.resources import files

import psycopg2

from downloader.errors import StoreUnavailable

# Any constant will do: it only has to be ours. Held for the length of the transaction.
_LOCK = 0x74_74_64_6C


def migrate(dsn: str) -> list[str]:
    """Bring the database up to date; returns the names of the files applied now. Raises StoreUnavailable."""
    applied = []
    try:
        connection = psycopg2.connect(dsn, connect_timeout=10, application_name="downloader migrate")
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
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
    except psycopg2.OperationalError as error:
        raise StoreUnavailable(f"Postgres cannot be reached for the migrations: {str(error).strip()}") from error
    return applied


def pending(known: set[str]) -> list[str]:
    """The names of the migrations that are not among ``known``."""
    return [name for name, _ in migrations() if name not in known]


def migrations() -> list[tuple[str, str]]:
    """Every migration as (name, SQL), in order."""
    folder = files("downloader.store") / "migrations"
    found = sorted((item for item in folder.iterdir() if item.name.endswith(".sql")), key=lambda item: item.name)
    return [(item.name.removesuffix(".sql"), item.read_text(encoding="utf-8")) for item in found]
