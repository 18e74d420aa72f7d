"""The misbehaving media host: a threaded HTTP/1.1 server on raw sockets, so that it can break every rule.

    with Origin() as origin:
        url = origin.add("/video.mp4", media_bytes(1 << 20), etag='"v1"')
        ...
        assert origin.count("/video.mp4") == 4

A resource is served correctly, with ranges in header mode and in query mode (``&range=a-b``), unless it has a
``script``: a function that takes the ``Call`` and answers it as it likes (``faults`` has one for each known evil).
A URL with ``?fault=<name>`` applies the fault of that name to a resource that has none.
"""

import random
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

_PIECE = 64 << 10


def media_bytes(size: int, seed: int = 0, brand: bytes = b"\x00\x00\x00\x18ftypmp42") -> bytes:
    """``size`` bytes that look like the beginning of an mp4 and are random after that; equal seeds, equal bytes."""
    return (brand + random.Random(seed).randbytes(max(0, size - len(brand))))[:size]


@dataclass
class Resource:
    """What a path serves. ``rate`` in bytes per second and connection; None for no limit."""

    body: bytes
    content_type: str = "video/mp4"
    etag: str | None = None
    last_modified: str | None = None
    rate: float | None = None
    ranges: bool = True
    script: "Script | None" = None


@dataclass(frozen=True)
class Seen:
    """A request as it arrived; header names in lower case."""

    method: str
    target: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    connection: int


@dataclass
class Call:
    """One request to answer. ``number`` counts the resource's requests from 1."""

    origin: "Origin"
    sock: socket.socket
    seen: Seen
    resource: Resource
    number: int
    keep: bool = True
    sent: list[int] = field(default_factory=list)

    @property
    def span(self) -> tuple[int, int] | None:
        """The range asked for, half-open and cut to the body; None when the whole is asked for."""
        size = len(self.resource.body)
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.seen.headers.get("range", ""))
        if found is None:
            return None
        return int(found[1]), min(size, int(found[2]) + 1 if found[2] else size)

    def head(self, status: int, *fields: str, reason: str = "Whatever") -> None:
        """Send a status line and header fields."""
        self.raw("\r\n".join([f"HTTP/1.1 {status} {reason}", *fields, "", ""]).encode("latin-1"))

    def fields(self, *, length: int | None) -> list[str]:
        """The resource's usual fields."""
        resource = self.resource
        found = [f"Content-Type: {resource.content_type}", "Accept-Ranges: bytes"]
        found += [f"ETag: {resource.etag}"] if resource.etag else []
        found += [f"Last-Modified: {resource.last_modified}"] if resource.last_modified else []
        return found + ([f"Content-Length: {length}"] if length is not None else [])

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)
        self.origin.moved += len(data)

    def body(self, data: bytes | memoryview, *, rate: float | None = None) -> None:
        """Send a body at the resource's rate (or ``rate``)."""
        rate = rate or self.resource.rate
        view = memoryview(data)
        piece = _PIECE if rate is None else max(1, int(rate / 20))
        for at in range(0, len(view), piece):
            self.raw(view[at : at + piece])
            if rate is not None:
                self.wait(len(view[at : at + piece]) / rate)

    def wait(self, seconds: float) -> None:
        """Do nothing for that long, or until the origin closes."""
        if self.origin.closing.wait(seconds):
            raise ConnectionError("the origin closes")

    def reset(self) -> None:
        """Cut the connection with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Cut the connection."""
        self.keep = False
        self.sock.close()

    def status(self, status: int, *fields: str, body: bytes = b"", content_type: str = "text/plain") -> None:
        """A small answer."""
        self.head(status, f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *fields)
        self.raw(body)

    def serve(self) -> None:
        """The right answer."""
        size = len(self.resource.body)
        view = memoryview(self.resource.body)
        if "range" in self.seen.query and self.resource.ranges:
            first, _, last = self.seen.query["range"].partition("-")
            part = view[int(first) : int(last) + 1]
            self.head(200, *self.fields(length=len(part)))
            self.body(part)
            return
        span = self.span if self.resource.ranges else None
        if_range = self.seen.headers.get("if-range")
        if span is None or (if_range is not None and if_range != self.resource.etag):
            self.head(200, *self.fields(length=size))
            self.body(view)
        elif span[0] >= size:
            self.head(416, f"Content-Range: bytes */{size}", "Content-Length: 0")
        else:
            self.partial(*span)

    def partial(self, start: int, end: int) -> None:
        """A right 206 for ``[start, end)``."""
        size = len(self.resource.body)
        self.head(206, f"Content-Range: bytes {start}-{end - 1}/{size}", *self.fields(length=end - start))
        self.body(memoryview(self.resource.body)[start:end])


Script = Callable[[Call], None]


class Origin:
    """The server; a context manager. ``requests`` is everything it was asked, ``moved`` what it sent in bytes."""

    def __init__(self, host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=512)
        self._tls = tls
        self._resources: dict[str, Resource] = {}
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._open: dict[int, socket.socket] = {}
        self._connections = 0
        self._threads: list[threading.Thread] = []
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        self.closing = threading.Event()
        self.requests: list[Seen] = []
        self.moved = 0
        self.refuse = False

    def __enter__(self) -> Self:
        accepting = threading.Thread(target=self._accept, daemon=True)
        accepting.start()
        self._threads.append(accepting)
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def add(self, path: str, body: bytes | Path = b"", **options: object) -> str:
        """Serve ``body`` at ``path`` (see Resource for options); returns the URL."""
        data = body.read_bytes() if isinstance(body, Path) else body
        self._resources[path] = Resource(data, **options)  # type: ignore[arg-type]
        return self.url(path)

    def resource(self, path: str) -> Resource:
        """What ``path`` serves, to be changed while it does."""
        return self._resources[path]

    def url(self, path: str, *, host: str | None = None) -> str:
        """The URL of ``path``; ``host`` when it is reached by another name."""
        name = host or (f"[{self.host}]" if ":" in self.host else self.host)
        return f"{'https' if self._tls else 'http'}://{name}:{self.port}{path}"

    def count(self, path: str | None = None) -> int:
        """How often ``path`` (or anything) was asked for."""
        return sum(1 for seen in self.requests if path is None or seen.path == path)

    @property
    def connections(self) -> int:
        """How many connections were accepted so far."""
        return self._connections

    @property
    def live(self) -> int:
        """How many connections are open now."""
        with self._lock:
            return len(self._open)

    def close(self) -> None:
        """Cut everything off."""
        self.closing.set()
        # shutdown wakes the accepting thread; close alone would not.
        for sock in (self._listener, *self._open.values()):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections += 1
                number = self._connections
                self._open[number] = sock
            thread = threading.Thread(target=self._talk, args=(sock, number), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _talk(self, sock: socket.socket, number: int) -> None:
        live = sock
        try:
            if self._tls is not None:
                live = self._tls.wrap_socket(sock, server_side=True, suppress_ragged_eofs=True)
            buffer = b""
            while not self.closing.is_set():
                while b"\r\n\r\n" not in buffer:
                    data = live.recv(65536)
                    if not data:
                        return
                    buffer += data
                text, _, buffer = buffer.partition(b"\r\n\r\n")
                if not self._answer(live, _seen(text.decode("latin-1"), number)):
                    return
        except (OSError, ValueError):
            return
        finally:
            with self._lock:
                self._open.pop(number, None)
            live.close()

    def _answer(self, sock: socket.socket, seen: Seen) -> bool:
        with self._lock:
            self.requests.append(seen)
            number = self._counts[seen.path] = self._counts.get(seen.path, 0) + 1
        resource = self._resources.get(seen.path)
        call = Call(self, sock, seen, resource or Resource(b""), number)
        if resource is None:
            call.status(404, body=b"not here")
        else:
            script = resource.script or _fault(seen)
            script(call) if script else call.serve()
        return call.keep


def _fault(seen: Seen) -> Script | None:
    from tests.origin import faults

    name = seen.query.get("fault")
    return faults.BY_NAME[name] if name else None


def _seen(text: str, connection: int) -> Seen:
    lines = text.split("\r\n")
    method, target, _ = lines[0].split(" ", 2)
    split = urlsplit(target)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    query = {name: values[-1] for name, values in parse_qs(split.query, keep_blank_values=True).items()}
    return Seen(method, target, split.path, query, headers, connection)
