"""A SOCKS5 proxy (RFC 1928) that resolves names itself: it leads every one of them to one port of this machine."""

import socket
import struct
import threading
from typing import Self

_VERSION, _NO_AUTHENTICATION, _NAME = 5, 0, 3


class Socks:
    """A context manager; ``asked`` is every (address type, name, port) that a client wanted."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]
        self.asked: list[tuple[int, str, int]] = []

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

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(sock)
            self._start(self._serve, sock)

    def _serve(self, client: socket.socket) -> None:
        with client:
            stream = client.makefile("rb")
            stream.read(stream.read(2)[1])
            client.sendall(bytes([_VERSION, _NO_AUTHENTICATION]))
            kind = stream.read(4)[3]
            name = stream.read(stream.read(1)[0]).decode() if kind == _NAME else socket.inet_ntoa(stream.read(4))
            (port,) = struct.unpack(">H", stream.read(2))
            self.asked.append((kind, name, port))
            with socket.create_connection(("127.0.0.1", self._target)) as server:
                self._sockets.append(server)
                client.sendall(bytes([_VERSION, 0, 0, 1]) + bytes(6))
                self._start(_relay, client, server)
                _relay(server, client)


def _relay(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        return
