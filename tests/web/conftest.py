"""A database with jobs in any state, the app over real parts, and real gunicorn servers.

``server`` and ``rows`` are shared by the whole session: tests that need rows, queues or servers of their own take
``own_rows``, ``client`` and ``serve``, on a database of their own.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from downloader import embedded
from downloader.config import load
from tests.conftest import database, execute
from tests.web import described
from tests.web.rows import Rows
from tests.web.server import Events, Server
from web.app import create_app
from web.parts import Parts, build


@pytest.fixture(autouse=True)
def held_to_the_description(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever answer any test here gets must be one that /openapi.json describes."""
    opened, requested, told = FlaskClient.open, Server.request, Events.next

    def open_(self: FlaskClient, *args: Any, **kwargs: Any) -> TestResponse:
        answer = opened(self, *args, **kwargs)
        asked = answer.request
        # Files and streams are for the test to read.
        body = b"" if answer.is_streamed and answer.mimetype != "application/json" else answer.get_data()
        described.check(asked.method, asked.environ["PATH_INFO"], answer.status_code, answer.headers, body)
        return answer

    def request(self: Server, method: str, path: str, *args: Any, **kwargs: Any) -> Any:
        status, headers, body = requested(self, method, path, *args, **kwargs)
        described.check(method, path, status, headers, body)
        return status, headers, body

    def next_(self: Events) -> tuple[int, dict[str, Any]] | None:
        event = told(self)
        if event:
            described.component("Job").validate(event[1])
        return event

    monkeypatch.setattr(FlaskClient, "open", open_)
    monkeypatch.setattr(Server, "request", request)
    monkeypatch.setattr(Events, "next", next_)


def variables(database_url: str, redis_url: str, prefix: str, data: Path) -> dict[str, str]:
    """The variables of a service."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "REDIS_QUEUE_KEY": prefix,
        "DATA_DIR": str(data),
        "PUBLIC_BASE_URL": "/api/downloader",
        "STORAGE_MIN_FREE_BYTES": "0",
        "STORAGE_MIN_FREE_PERCENT": "0",
        "LOG_FORMAT": "json",
    }


@pytest.fixture(scope="session")
def shared_environ(
    postgres_server: embedded.Postgres,
    valkey_server: embedded.Valkey,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """The variables of the shared server."""
    name = f"t{secrets.token_hex(6)}"
    execute(postgres_server.dsn, "CREATE DATABASE {} TEMPLATE {}", name, migrated_template)
    url = database(postgres_server.dsn, name)
    return variables(url, valkey_server.url, name, tmp_path_factory.mktemp("web") / "data")


@pytest.fixture(scope="session")
def rows(shared_environ: dict[str, str]) -> Iterator[Rows]:
    """Jobs in any state, for the shared server."""
    made = Rows(shared_environ["DATABASE_URL"], Path(shared_environ["DATA_DIR"]))
    yield made
    made.close()


@pytest.fixture(scope="session")
def server(shared_environ: dict[str, str]) -> Iterator[Server]:
    """The shared server, with one worker."""
    with Server(shared_environ) as made:
        yield made


@pytest.fixture
def environ(database_url: str, redis_url: str, redis_prefix: str, tmp_path: Path) -> dict[str, str]:
    """The variables of a service on the test's own database, key prefix and data folder."""
    return variables(database_url, redis_url, redis_prefix, tmp_path / "data")


@pytest.fixture
def own_rows(database_url: str, tmp_path: Path) -> Iterator[Rows]:
    """Jobs in any state, in the test's own database."""
    made = Rows(database_url, tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def make_parts(environ: dict[str, str]) -> Iterator[Callable[..., Parts]]:
    """Real parts, with some variables changed."""
    with ExitStack() as stack:

        def make(**changes: str) -> Parts:
            made = build(load(environ | changes))
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def parts(make_parts: Callable[..., Parts]) -> Parts:
    return make_parts()


@pytest.fixture
def client(parts: Parts) -> FlaskClient:
    """A client of the app inside this process."""
    return create_app(parts).test_client()


@pytest.fixture
def serve(environ: dict[str, str]) -> Iterator[Callable[..., Server]]:
    """Start ``python -m web`` with some variables changed; all of them end with the test."""
    with ExitStack() as stack:
        yield lambda module="web", **changes: stack.enter_context(Server(environ | changes, module))
