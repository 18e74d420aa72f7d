"""A media host that speaks HTTP/2 (over TLS, by ALPN) and says GOAWAY when it is told to."""

import socket
import ssl
import threading
from collections.abc import Callable
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event, RequestReceived
from hyperframe.frame import GoAwayFrame

NO_ERROR, INTERNAL_ERROR, ENHANCE_YOUR_CALM = 0x0, 0x2, 0xB


class Connection:
    """One connection: answers every request with its range of ``body``, as far as the peer's windows let it."""

    def __init__(self, origin: "MultiplexedOrigin", sock: ssl.SSLSocket, number: int) -> None:
        self.origin = origin
        self.number = number
        self.sent = 0
        """Bytes of bodies so far, over all streams."""
        self._sock = sock
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._left: dict[int, memoryview] = {}
        self._refused_from = 1 << 31
        self._open = True

    def run(self) -> None:
        """Talk until one side has enough."""
        self._h2.initiate_connection()
        self._flush()
        self.origin.script(self)
        while self._open:
            data = self._sock.recv(65536)
            if not data:
                return
            for event in self._h2.receive_data(data):
                self._take(event)
            self._flush()
            self._pump()

    def go_away(self, *, last: int, code: int, hang_up: bool) -> None:
        """GOAWAY: streams above ``last`` are not answered any more; ``hang_up`` closes the connection behind it."""
        self._refused_from = last + 1
        self._left = {stream: rest for stream, rest in self._left.items() if stream <= last}
        self._sock.sendall(GoAwayFrame(0, last_stream_id=last, error_code=code).serialize())
        if hang_up:
            self._open = False
            self._sock.shutdown(socket.SHUT_RDWR)

    @property
    def streams(self) -> list[int]:
        """The streams that are being answered."""
        return sorted(self._left)

    def _take(self, event: Event) -> None:
        if not isinstance(event, RequestReceived) or event.stream_id >= self._refused_from:
            return
        fields = {str(name): str(value) for name, value in event.headers}
        first, _, last = fields.get("range", "bytes=0-").removeprefix("bytes=").partition("-")
        body = self.origin.body
        start, end = int(first), min(len(body), int(last) + 1 if last else len(body))
        self.origin.seen.append((self.number, event.stream_id))
        self._h2.send_headers(
            event.stream_id,
            [
                (":status", "206"),
                ("content-type", "video/mp4"),
                ("content-length", str(end - start)),
                ("content-range", f"bytes {start}-{end - 1}/{len(body)}"),
                ("etag", '"one"'),
            ],
        )
        self._left[event.stream_id] = memoryview(body)[start:end]

    def _pump(self) -> None:
        """A frame of each stream in turn, until the windows are full."""
        moved = True
        while moved and self._open:
            moved = False
            for stream in list(self._left):
                rest = self._left.get(stream, memoryview(b""))  # the last frame's script may have ended it
                size = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size, len(rest))
                if size == 0 or not self._open:
                    continue
                self._h2.send_data(stream, bytes(rest[:size]), end_stream=size == len(rest))
                self._left[stream] = rest[size:]
                if size == len(rest):
                    del self._left[stream]
                self._flush()
                self.sent += size
                moved = True
                self.origin.script(self)

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._open:
            self._sock.sendall(data)


class MultiplexedOrigin:
    """The server; a context manager. ``script`` is called when a connection begins and after every frame of a body."""

    def __init__(self, context: ssl.SSLContext, body: bytes, script: Callable[[Connection], None]) -> None:
        context.set_alpn_protocols(["h2"])
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.body = body
        self.script = script
        self.connections = 0
        self.seen: list[tuple[int, int]] = []
        """Every request as its connection's number and its stream's."""

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_error: object) -> None:
        for sock in (self._listener, *self._sockets):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, call: Callable[[], None]) -> None:
        thread = threading.Thread(target=call, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(sock)
            self.connections += 1
            self._start(lambda sock=sock, number=self.connections: self._talk(sock, number))  # type: ignore[misc]

    def _talk(self, sock: socket.socket, number: int) -> None:
        try:
            with self._context.wrap_socket(sock, server_side=True) as live:
                Connection(self, live, number).run()
        except OSError:
            return
