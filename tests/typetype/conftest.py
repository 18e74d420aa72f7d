"""A server that answers exactly what a test scripts, byte for byte, and remembers what it was asked."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest


@dataclass
class Scripted:
    """Each connection's next request gets the next of ``answers``; the last one is repeated.

    An answer is raw bytes; None closes without a word; ``hold`` sends nothing until the server ends. ``asked`` is set
    when a request has come.
    """

    answers: list[bytes | None] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    connections: int = 0
    close_after_each: bool = False
    asked: threading.Event = field(default_factory=threading.Event)
    base: str = ""

    def next(self) -> bytes | None:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


HOLD = b"\0hold"


def reply(status: int, body: bytes = b"", **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body


@pytest.fixture
def server() -> Iterator[Scripted]:
    script = Scripted()
    listener = socket.create_server(("127.0.0.1", 0))
    script.base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    open_sockets: list[socket.socket] = []
    threading.Thread(target=_accept, args=(listener, script, open_sockets), daemon=True).start()
    yield script
    listener.close()
    for connection in open_sockets:
        connection.close()


def _accept(listener: socket.socket, script: Scripted, open_sockets: list[socket.socket]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        script.connections += 1
        open_sockets.append(connection)
        threading.Thread(target=_serve, args=(connection, script), daemon=True).start()


def _serve(connection: socket.socket, script: Scripted) -> None:
    try:
        while head := _read_head(connection):
            script.heads.append(head)
            script.asked.set()
            answer = script.next()
            if answer is None:
                connection.close()
                return
            if answer == HOLD:
                continue
            connection.sendall(answer)
            if script.close_after_each:
                connection.close()
                return
    except OSError:
        return  # the client went, or the test is over


def _read_head(connection: socket.socket) -> str:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = connection.recv(4096)
        if not piece:
            return ""
        head += piece
    return head.decode("latin-1")
