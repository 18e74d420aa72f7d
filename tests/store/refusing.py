"""A Postgres that says one thing to whoever connects, and hangs up."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def refusing(code: str, message: str) -> Iterator[str]:
    """A server that answers every start-up with this error; gives its DSN, whose password is ``s3cret``."""

    class Refusal(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            fields = b"".join(
                kind + text.encode() + b"\0" for kind, text in ((b"S", "FATAL"), (b"C", code), (b"M", message))
            )
            self.request.sendall(b"E" + (len(fields) + 5).to_bytes(4, "big") + fields + b"\0")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            port = server.server_address[1]
            yield f"postgresql://u:s3cret@127.0.0.1:{port}/d?sslmode=disable&gssencmode=disable"
        finally:
            server.shutdown()
