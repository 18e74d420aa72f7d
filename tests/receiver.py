"""A receiver of callbacks on loopback that answers what it is told to and keeps what it got."""

import ssl
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Self


class Receiver(ThreadingHTTPServer):
    """Answers each POST with ``status``, ``headers`` and ``answer``, after ``meanwhile()``.

    ``got`` holds path, headers and body of each. With ``tls`` it is an https receiver, named ``localhost``.
    """

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 204
        self.answer = b""
        self.headers: dict[str, str] = {}
        self.meanwhile: Callable[[], object] = lambda: None
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/hook?x=1"
        if tls is not None:
            self.url = f"https://localhost:{self.server_port}/hook?x=1"
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not trust us is part of the test."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers.items()), body))
        self.server.meanwhile()
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.answer)))
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(self.server.answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in http.server
        """Silence."""
