"""A real web server in a process of its own, and raw connections to it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

PATIENCE = 20.0


class Server:
    """``python -m web`` on a port that this process opened, ending when this process does."""

    def __init__(self, environ: dict[str, str], module: str = "web") -> None:
        self.environ = environ
        self._module = module

    def __enter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port = listener.getsockname()[1]
        read, self.lifeline = os.pipe()
        with listener:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self._module, "--bind", f"fd://{listener.fileno()}", "--lifeline-fd", str(read)],
                env=self.environ | {"PATH": os.environ["PATH"]},
                pass_fds=(listener.fileno(), read),
                stderr=subprocess.PIPE,
            )
        os.close(read)
        # The socket listens already: this waits in its backlog until the worker is there.
        assert self.get("/health")[0] == 200
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        try:
            self.log = self.process.communicate(timeout=PATIENCE)[1].decode()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise

    def cut(self) -> None:
        """Close the lifeline."""
        if self.lifeline >= 0:
            with suppress(OSError):
                os.close(self.lifeline)
            self.lifeline = -1

    def terminate(self) -> int:
        """Send SIGTERM and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        return self.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, path: str, document: Any) -> tuple[int, Any]:
        status, _, body = self.request(
            "POST", path, json.dumps(document).encode(), {"Content-Type": "application/json"}
        )
        return status, json.loads(body)

    def events(self, job_id: str, **headers: str) -> "Events":
        return Events(self, job_id, headers)


class Events:
    """A client of a job's event stream."""

    def __init__(self, server: Server, job_id: str, headers: dict[str, str]) -> None:
        self._connection = server.connect()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("GET", f"/jobs/{job_id}/events", headers=named)
        self.comments = 0
        self.answer = self._connection.getresponse()

    def next(self) -> tuple[int, dict[str, Any]] | None:
        """The next event's id and job; None at the end of the stream."""
        found: dict[str, str] = {}
        while line := self.answer.readline().decode():
            if line == "\n":
                if found:
                    assert found["event"] == "progress"
                    return int(found["id"]), json.loads(found["data"])
                continue
            if line.startswith(":"):
                self.comments += 1
                assert self.comments < 2, "no event came within half a minute"
                continue
            name, _, value = line.rstrip("\n").partition(":")
            found[name] = value
        return None

    def until(self, status: str) -> list[dict[str, Any]]:
        """Every job up to the first one with ``status``."""
        seen = []
        while (event := self.next()) is not None:
            seen.append(event[1])
            if event[1]["status"] == status:
                return seen
        raise AssertionError(f"the stream ended before {status}")

    def close(self) -> None:
        self.answer.close()
        self._connection.close()
