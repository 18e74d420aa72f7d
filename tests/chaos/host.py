"""The stand-in with a media host that misbehaves: ``python -m tests.chaos.host --media DIR``, ends with its parent.

A source ``v=<name>.<manner>`` is ``<name>`` of the stand-in whose media come in that manner; ``@manner`` below names
each. Every answer of TypeType-Server carries links of its own, so that what a manner counts, it counts per link.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from tests.standin import __main__ as process
from tests.standin import offers
from tests.standin.media import RECIPES, make_noise
from tests.standin.server import Request, Response, StandIn

SLOW_SECONDS, CRAWL_SECONDS = 2.5, 120.0
_PIECES = 25
STOUT_SECONDS, STOUT_RATE = 8, 20_000_000  # 20 MB: more than one part of an upload

RECIPES["stout.mp4"] = lambda path: make_noise(path, STOUT_SECONDS, STOUT_RATE)


class Host(StandIn):
    """The server."""

    def __init__(self, folder: Path, port: int = 0, *, record: bool = True) -> None:
        super().__init__(folder, port, record=record, flaky_times=0)
        self._links_given = 0
        self._asked: Counter[str] = Counter()
        self._offers._made["stout"] = self._stout

    def _stout(self, base: str) -> offers.Answer:
        short = self._offers._short(base)
        stream = self._offers.video(base, "short.mp4", 136, 720)
        size = process.media_file(self.folder, "stout.mp4").stat().st_size
        return short | {"videoOnlyStreams": [stream | {"url": f"{base}/media/stout.mp4", "contentLength": size}]}

    async def _streams(self, name: str, request: Request) -> Response:
        whole = offers.source_name(request.query("url"))
        source, _, manner = whole.partition(".")
        if manner == "hesitant":
            self._asked[request.target] += 1
            if self._asked[request.target] == 1:
                return Response(503, b'{"error": "Come back later."}')
        answer = await super()._streams(name, replace(request, target=request.target.replace(whole, source)))
        if manner in MANNERS and answer.status == 200:
            self._links_given += 1
            link = b"/wild/%s/%d/" % (manner.encode(), self._links_given)
            return replace(answer, body=answer.body.replace(b"/media/", link))
        return answer

    async def _answer(self, request: Request) -> Response:
        if not request.path.startswith("/wild/"):
            return await super()._answer(request)
        _, _, manner, _link, name = request.path.split("/")
        self._asked[request.path] += 1
        return await MANNERS[manner](self, name, request, self._asked[request.path])

    async def _send(self, writer: asyncio.StreamWriter, response: Response, *, with_body: bool, close: bool) -> None:
        manner = response.headers.pop("X-Manner", "")
        if not (manner and with_body):
            await super()._send(writer, response, with_body=with_body, close=close)
            return
        body = response.body
        if response.file:
            path, offset, length = response.file
            with path.open("rb") as file:
                file.seek(offset)
                body = file.read(length)
        head = replace(response, body=body, file=None).head(close=close)
        if manner == "cut":
            writer.write(head + body[: len(body) // 2])
            await writer.drain()
            writer.transport.abort()
            raise ConnectionResetError
        writer.write(head)
        seconds = CRAWL_SECONDS if manner == "crawl" else SLOW_SECONDS
        pieces = int(_PIECES * seconds / SLOW_SECONDS)
        piece = len(body) // pieces + 1
        for at in range(0, len(body), piece):
            writer.write(body[at : at + piece])
            await writer.drain()
            await asyncio.sleep(seconds / pieces)


async def _slow(host: Host, name: str, request: Request, _number: int) -> Response:
    """Every body takes SLOW_SECONDS, however long it is."""
    return _in_manner(await host._file(name, request), "slow")


async def _crawl(host: Host, name: str, request: Request, _number: int) -> Response:
    """Every body takes CRAWL_SECONDS."""
    return _in_manner(await host._file(name, request), "crawl")


async def _reset(host: Host, name: str, request: Request, number: int) -> Response:
    """Half of the body, then RST: the first two times of each link."""
    answer = await host._file(name, request)
    return _in_manner(answer, "cut") if number <= 2 else answer


async def _burst(host: Host, name: str, request: Request, number: int) -> Response:
    """503 twice for each link, then well."""
    return Response(503, b"no", "text/plain") if number <= 2 else await host._file(name, request)


async def _rangeless(host: Host, name: str, request: Request, _number: int) -> Response:
    """200 with the whole body whatever is asked for."""
    return await host._file(name, _whole(request))


async def _fickle(host: Host, name: str, request: Request, number: int) -> Response:
    """Ranges honoured once, then ignored."""
    return await host._file(name, request if number == 1 else _whole(request))


async def _drift(host: Host, name: str, request: Request, number: int) -> Response:
    """Slowly, and under another validator from the second answer on: another version, as far as one can tell."""
    headers = {key: value for key, value in request.headers.items() if key != "if-range"}
    version = '"first"' if number == 1 else '"second"'
    if request.headers.get("if-range", version) != version:
        headers.pop("range", None)
    answer = await host._file(name, replace(request, headers=headers))
    answer.headers["ETag"] = version
    return _in_manner(answer, "slow")


async def _gone(host: Host, name: str, request: Request, number: int) -> Response:
    """Half of a body, then the link has expired; a fresh one is to be had."""
    if number > 1:
        return Response(403, b"expired", "text/plain")
    return _in_manner(await host._file(name, request), "cut")


def _in_manner(answer: Response, manner: str) -> Response:
    answer.headers["X-Manner"] = manner
    return answer


def _whole(request: Request) -> Request:
    """The request without its range, in whichever way it was asked."""
    headers = {key: value for key, value in request.headers.items() if key not in ("range", "if-range")}
    return replace(request, target=request.target.partition("?")[0], headers=headers)


MANNERS: dict[str, Callable[[Host, str, Request, int], Awaitable[Response]]] = {
    "slow": _slow,
    "crawl": _crawl,
    "reset": _reset,
    "burst": _burst,
    "rangeless": _rangeless,
    "fickle": _fickle,
    "drift": _drift,
    "gone": _gone,
}


if __name__ == "__main__":
    process.StandIn = Host
    asyncio.run(process.main(process.arguments()))
