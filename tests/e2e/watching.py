"""Reading server-sent events as a browser does."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import urllib3


@dataclass(frozen=True)
class Event:
    name: str
    id: str
    data: dict[str, Any]


def events(url: str, timeout: float = 60) -> Iterator[Event]:
    """The events of ``url`` until the server ends the stream."""
    with urllib3.PoolManager(retries=False) as pool:
        answer = pool.request("GET", url, preload_content=False, timeout=timeout)
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in _lines(answer):
            if not line:
                if "data" in fields:
                    yield Event(fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"]))
                fields = {}
            elif not line.startswith(":"):
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
        answer.release_conn()


def _lines(answer: urllib3.BaseHTTPResponse) -> Iterator[str]:
    rest = b""
    for piece in answer.stream(65536):
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode() for line in whole)
