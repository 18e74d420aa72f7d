"""Real servers for every test: one private Postgres and one Valkey a session, a fresh database a test.

A test that stops or kills a server starts one of its own (``downloader.embedded``), never these.
"""

import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest
from hypothesis import HealthCheck, settings
from psycopg2 import sql

from downloader import embedded
from downloader.store import migrate

TEMPLATE = "migrated"

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Postgres]:
    """A running Postgres (``.dsn``), without fsync: what survives a power cut is not tested here."""
    server = embedded.Postgres(tmp_path_factory.mktemp("postgres"), fsync=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Valkey]:
    """A running Valkey (``.url``)."""
    server = embedded.Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def migrated_template(postgres_server: embedded.Postgres) -> str:
    """The name of a database that holds our tables and no rows."""
    execute(postgres_server.dsn, "CREATE DATABASE {}", TEMPLATE)
    migrate(database(postgres_server.dsn, TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database_url(postgres_server: embedded.Postgres, migrated_template: str) -> Iterator[str]:
    """The DSN of a fresh, migrated database."""
    name = f"t{secrets.token_hex(6)}"
    execute(postgres_server.dsn, "CREATE DATABASE {} TEMPLATE {}", name, migrated_template)
    yield database(postgres_server.dsn, name)
    execute(postgres_server.dsn, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def empty_database_url(postgres_server: embedded.Postgres) -> Iterator[str]:
    """The DSN of a fresh database without any table."""
    name = f"t{secrets.token_hex(6)}"
    execute(postgres_server.dsn, "CREATE DATABASE {}", name)
    yield database(postgres_server.dsn, name)
    execute(postgres_server.dsn, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def redis_url(valkey_server: embedded.Valkey) -> str:
    """The URL of a Redis that other tests use as well: keep to ``redis_prefix``."""
    return valkey_server.url


@pytest.fixture
def redis_prefix() -> str:
    """A key prefix of this test alone."""
    return f"t{secrets.token_hex(6)}"


def database(dsn: str, name: str) -> str:
    """``dsn`` with another database name."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


def execute(dsn: str, statement: str, *names: str) -> None:
    """Run one statement outside a transaction, with ``names`` as its identifiers."""
    connection = psycopg2.connect(dsn)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
    finally:
        connection.close()
