"""A database with jobs in any state, the app over real parts, and real gunicorn servers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from downloader.config import load
from tests.web.rows import Rows
from tests.web.server import Server
from web.app import create_app
from web.parts import Parts, build


@pytest.fixture
def environ(database_url: str, redis_url: str, redis_prefix: str, tmp_path: Path) -> dict[str, str]:
    """The variables of a service on the test's own database, key prefix and data folder."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "REDIS_QUEUE_KEY": redis_prefix,
        "DATA_DIR": str(tmp_path / "data"),
        "PUBLIC_BASE_URL": "/api/downloader",
        "STORAGE_MIN_FREE_BYTES": "0",
        "STORAGE_MIN_FREE_PERCENT": "0",
        "LOG_FORMAT": "json",
    }


@pytest.fixture
def rows(database_url: str, tmp_path: Path) -> Iterator[Rows]:
    """Jobs in any state, written straight into the database."""
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
def serve(environ: dict[str, str], rows: Rows) -> Iterator[Callable[..., Server]]:
    """Start ``python -m web`` with some variables changed; all of them end with the test."""
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(Server(environ | changes))


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    """A running web server with one worker."""
    return serve()
