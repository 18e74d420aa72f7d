"""A proxy in front of the S3 server that breaks what it is told to break."""

import http.client
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from urllib.parse import parse_qs, urlsplit


def operation(method: str, path: str) -> str:
    """The S3 operation of a request, by its method and query."""
    query = parse_qs(urlsplit(path).query, keep_blank_values=True)
    if "uploads" in query:
        return "create" if method == "POST" else "list-uploads"
    if "uploadId" in query:
        return {"PUT": "part", "POST": "complete", "DELETE": "abort", "GET": "list-parts"}[method]
    return method.lower()


@dataclass
class Fault:
    """Breaks ``operation`` ``times`` times by answering ``status`` and ``code``, or by ``act``.

    ``lose``: the server does the work, its reply is lost. ``hang``: nothing is answered until the proxy ends. ``kept``:
    the server is said to have done its work, and never hears of it.
    """

    operation: str
    times: int = 1
    status: int = 0
    code: str = ""
    lose: bool = False
    hang: bool = False
    kept: bool = False
    conditional_only: bool = False
    reached: Event = field(default_factory=Event)
    reached_at: float = 0.0


class FaultProxy(ThreadingHTTPServer):
    """``endpoint`` is what a client signs for; ``seen`` lists the operations in order."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.endpoint = f"127.0.0.1:{self.server_port}"
        self.faults: list[Fault] = []
        self.seen: list[str] = []
        self.ended = Event()
        self._lock = Lock()

    def take(self, name: str, headers: http.client.HTTPMessage) -> Fault | None:
        """The fault for a request, if one is left."""
        with self._lock:
            self.seen.append(name)
            for fault in self.faults:
                matches = fault.operation in (name, "*") and (not fault.conditional_only or "If-None-Match" in headers)
                if matches and fault.times > 0:
                    fault.times -= 1
                    fault.reached_at = fault.reached_at or time.monotonic()
                    fault.reached.set()
                    return fault
        return None

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is part of the test."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultProxy

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.take(operation(self.command, self.path), self.headers)
        if fault is None:
            self._answer(*self._forward(body))
        elif fault.hang:
            self.server.ended.wait(30)
            self.close_connection = True
        elif fault.lose:
            self._forward(body)
            self.close_connection = True
        elif fault.kept:
            done = b"<?xml version='1.0'?><CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
            self._answer(200, [("ETag", '"x"')], done if self.command == "POST" else b"")
        else:
            error = f"<?xml version='1.0'?><Error><Code>{fault.code}</Code><Message>no</Message></Error>".encode()
            self._answer(fault.status, [("Content-Type", "application/xml")], error)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815 - names of http.server

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.upstream, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "expect")}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), content

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        length = None
        for name, value in headers:
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in http.server
        """Silence."""


@contextmanager
def serving(proxy: FaultProxy) -> Iterator[None]:
    """``proxy`` answers while the block runs."""
    thread = Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        proxy.ended.set()
        proxy.shutdown()
        proxy.server_close()
        thread.join()


@contextmanager
def proxied(upstream: str, *faults: Fault, tls: ssl.SSLContext | None = None) -> Iterator[FaultProxy]:
    """A proxy before ``upstream`` with ``faults``; with ``tls`` clients must speak that."""
    proxy = FaultProxy(upstream)
    if tls is not None:
        # The handshake is left to each connection's own thread.
        proxy.socket = tls.wrap_socket(proxy.socket, server_side=True, do_handshake_on_connect=False)
    proxy.faults.extend(faults)
    with serving(proxy):
        yield proxy
