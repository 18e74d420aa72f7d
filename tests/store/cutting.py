"""A proxy before Postgres that cuts a connection in the middle of a commit, with either outcome."""

import socket
import threading
from typing import Literal, Self
from urllib.parse import urlencode

from psycopg2.extensions import parse_dsn

_READY = b"Z\x00\x00\x00\x05I"  # ReadyForQuery, no transaction open: what was asked is committed


class Cutting:
    """``arm("before")`` cuts the next question before it comes to Postgres, ``arm("after")`` swallows its answer."""

    def __init__(self, dsn: str) -> None:
        self._parts = parse_dsn(dsn)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._armed: Literal["", "before", "after"] = ""
        self.cuts = 0

    @property
    def dsn(self) -> str:
        port = self._listener.getsockname()[1]
        user, name = self._parts.get("user", ""), self._parts["dbname"]
        return (
            f"postgresql://{user}@127.0.0.1:{port}/{name}?{urlencode({'sslmode': 'disable', 'gssencmode': 'disable'})}"
        )

    def arm(self, when: Literal["before", "after"]) -> None:
        self._armed = when

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{self._parts['host']}/.s.PGSQL.{self._parts.get('port', '5432')}")
            for pump in (self._ask, self._answer):
                threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        while data := _received(client):
            if self._armed == "before":
                self._armed = ""
                self.cuts += 1
                break
            _sent(server, data)
        _end(client, server)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        while data := _received(server):
            if self._armed == "after" and data.endswith(_READY):
                self._armed = ""
                self.cuts += 1
                break
            if self._armed != "after":
                _sent(client, data)
        _end(client, server)


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except OSError:
        return b""


def _sent(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError:
        return


def _end(*connections: socket.socket) -> None:
    for connection in connections:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue
        connection.close()
