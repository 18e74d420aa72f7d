"""The gunicorn worker: gevent, with our JSON for malformed requests, kernel sendfile and an end to every stream."""

import errno
import json
import os
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

import gevent
import psycopg2.extensions
from gevent import socket
from gunicorn.http import errors as http
from gunicorn.workers.ggevent import GeventWorker

from web.problem import document

STALL_SECONDS: Final = 60.0
"""A client that takes no byte for so long is gone."""

DATABASE_SECONDS: Final = 4.0
"""A Postgres that says nothing for so long is away: also after a second try the gateway's 10 s are not over."""

_SENDFILE_BYTES: Final = 1 << 20
# A client that takes bytes as fast as memory gives them keeps two cores busy, its own and ours. Postgres, which every
# other request waits for, then gets one for a time slice in between: a GET took 43 ms (p99), with these rests 5 ms.
_REST_BYTES: Final = 4 << 20
_REST_SECONDS: Final = 0.0005
_STATUS_OF: Final = (
    (http.LimitRequestLine, HTTPStatus.REQUEST_URI_TOO_LONG),
    (http.LimitRequestHeaders, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    (http.UnsupportedTransferCoding, HTTPStatus.NOT_IMPLEMENTED),
    (http.ExpectationFailed, HTTPStatus.EXPECTATION_FAILED),
    (http.ParseException, HTTPStatus.BAD_REQUEST),
)


class ClientSocket(socket.socket):
    """A client's connection that gives up on one who stopped reading, and sends files from the page cache."""

    file_bytes = 0
    """Bytes that ``sendfile`` has sent since this was last set to 0."""

    def recv(self, size: int, flags: int = 0) -> bytes:
        """At most ``size`` bytes; none when the client is done, or when a drain shut the connection meanwhile."""
        try:
            return bytes(super().recv(size, flags))
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            return b""

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of ``data``; raises BrokenPipeError when the client does not take it within STALL_SECONDS."""
        with gevent.Timeout(STALL_SECONDS, _gone()):
            super().sendall(data, flags)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send ``count`` bytes of ``file`` by os.sendfile, other clients taking their turn after each megabyte.

        gevent's own sendfile reads into Python and writes from there. Raises BrokenPipeError when the file turns out
        shorter, since the length was promised, and when the client takes nothing for STALL_SECONDS.
        """
        source, sent, unrested = file.fileno(), 0, 0
        left = os.fstat(source).st_size - offset if count is None else count
        while sent < left:
            try:
                moved = os.sendfile(self.fileno(), source, offset + sent, min(_SENDFILE_BYTES, left - sent))
            except BlockingIOError:
                socket.wait_write(self.fileno(), timeout=STALL_SECONDS, timeout_exc=_gone())
                unrested = 0
                continue
            if moved == 0:
                raise _gone()
            sent += moved
            unrested += moved
            self.file_bytes += moved
            gevent.sleep(0 if unrested < _REST_BYTES else _REST_SECONDS)
            unrested %= _REST_BYTES
        return sent


class Drains(Protocol):
    """What the worker's application can do besides being one of gunicorn's."""

    def drain(self) -> None:
        """End what would go on for ever; must not raise."""


class Worker(GeventWorker):
    """One web process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Connections between two requests: gunicorn itself would wait for them when it drains.
        self._idle: set[ClientSocket] = set()

    def patch(self) -> None:
        """Make the standard library and psycopg2 cooperative."""
        super().patch()
        psycopg2.extensions.set_wait_callback(_wait)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection."""
        family, kind, protocol = client.family, client.type, client.proto
        connection = ClientSocket(family, kind, protocol, fileno=client.detach())
        self._idle.add(connection)
        try:
            super().handle(listener, connection, addr)
        finally:
            self._idle.discard(connection)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> bool:
        """Serve one request of a connection; when draining, its last one."""
        self._idle.discard(sock)
        kept = super().handle_request(listener_name, req, sock, addr)
        if not self.alive:
            raise StopIteration
        self._idle.add(sock)
        return kept

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: take no new connection, end event streams and kept connections, let the rest finish."""
        super().handle_exit(sig, frame)
        gevent.spawn(self._drain)

    def _drain(self) -> None:
        cast("Drains", self.app).drain()
        for connection in list(self._idle):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that never reached the app."""
        del req, addr
        status = next((code for kind, code in _STATUS_OF if isinstance(exc, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.error("a request failed outside of the app", exc_info=exc)
        else:
            self.log.info("a malformed request: %s", type(exc).__name__)
        code = "internal_error" if status is HTTPStatus.INTERNAL_SERVER_ERROR else "bad_request"
        body = json.dumps(document(code, f"{status.phrase}.")).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with suppress(OSError):
            client.sendall(head.encode() + body)


def _gone() -> BrokenPipeError:
    return BrokenPipeError(errno.EPIPE, "the client or the file ended early")


def _wait(connection: Any) -> None:
    """Let other greenlets run while psycopg2 waits for Postgres; libpq's own time-outs do not count in this mode."""
    silent = psycopg2.OperationalError(f"no word from Postgres for {DATABASE_SECONDS} s")
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        if state == psycopg2.extensions.POLL_READ:
            socket.wait_read(connection.fileno(), timeout=DATABASE_SECONDS, timeout_exc=silent)
        elif state == psycopg2.extensions.POLL_WRITE:
            socket.wait_write(connection.fileno(), timeout=DATABASE_SECONDS, timeout_exc=silent)
        else:
            raise psycopg2.OperationalError(f"unexpected state {state} of a connection")
