"""The stand-in's HTTP server: asyncio, keep-alive, files by sendfile. In a thread for tests, in a process elsewhere."""

import asyncio
import contextlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.standin import framing
from tests.standin.media import DURATIONS, RECIPES, media_file
from tests.standin.offers import REFUSALS, SUBTITLES, Offers, source_name

_TYPES = {
    ".mp4": "video/mp4",
    ".m4a": "audio/mp4",
    ".webm": "video/webm",
    ".mp3": "audio/mpeg",
    ".ts": "video/mp2t",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
}
LINK_USES = 2
_SLOW_SECONDS = 3600.0
_KEPT_IN_MEMORY = 4 << 20  # bytes; bigger files go out by sendfile
_ALIASES = {"flaky": "short", "late": "short", "expiring": "demo", "stalled": "short"}
_REASONS = {200: "OK", 206: "Partial Content", 304: "Not Modified", 404: "Not Found", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came. Header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    def query(self, name: str, default: str = "") -> str:
        return parse_qs(urlsplit(self.target).query).get(name, [default])[0]


@dataclass(slots=True)
class Response:
    """An answer: bytes, a part of a file, or pieces of unknown length (sent chunked)."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    file: tuple[Path, int, int] | None = None
    pieces: Iterable[bytes] | None = None

    def head(self, *, close: bool) -> bytes:
        length = (
            {} if self.pieces is not None else {"Content-Length": str(self.file[2] if self.file else len(self.body))}
        )
        framed = {"Transfer-Encoding": "chunked"} if self.pieces is not None else length
        lines = {"Content-Type": self.content_type, **framed, **self.headers}
        if close:
            lines["Connection"] = "close"
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Other')}\r\n{text}\r\n".encode("latin-1")


class StandIn:
    """The server. ``with StandIn(folder) as standin`` runs it in a thread; ``standin.base`` is its URL.

    ``requests`` holds the (method, target, headers) of every request while ``record`` is true. ``v=flaky`` answers
    503 as many times as ``flaky_times`` says; each URL of ``v=late`` is unknown when it is first asked for; ``v=slow``
    never answers, the media of ``v=stalled`` never come; each link of ``v=expiring`` serves ``LINK_USES`` requests and
    then 403, also through the proxy.
    """

    def __init__(self, folder: Path, port: int = 0, *, record: bool = True, flaky_times: int = 2) -> None:
        self.folder = folder
        self.port = port
        self.requests: list[Request] = []
        self.flaky_times = flaky_times
        self._record = record
        self._offers = Offers(folder)
        self._memory: dict[Path, bytes] = {}
        self._links = 0
        self._uses: Counter[str] = Counter()
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def base(self) -> str:
        """Its URL without a trailing slash: what TYPETYPE_API_BASE is set to."""
        return f"http://127.0.0.1:{self.port}"

    def source(self, name: str, number: int | None = None) -> str:
        """The URL of the source ``name``; with ``number`` one of any number of URLs of it."""
        return f"https://example.test/watch?v={name}" + (f"&n={number}" if number is not None else "")

    async def start(self) -> asyncio.Server:
        """Listen; the caller ends the server."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def end(self, server: asyncio.Server) -> None:
        """Close the server and every connection."""
        server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(started)), daemon=True)
        self._thread.start()
        if not started.wait(10):
            raise RuntimeError("the stand-in did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _run(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await self.start()
        started.set()
        await self._stop.wait()
        await self.end(server)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # the client went, or the server ends
        finally:
            self._connections.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False when the connection is over."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, target, _version = first.split(" ")
        pairs = (line.partition(":") for line in lines if line)
        request = Request(method, target, {name.lower(): value.strip() for name, _, value in pairs})
        if self._record:
            self.requests.append(request)
        response = await self._answer(request)
        close = request.headers.get("connection", "").lower() == "close"
        await self._send(writer, response, with_body=method != "HEAD", close=close)
        return not close

    async def _send(self, writer: asyncio.StreamWriter, response: Response, *, with_body: bool, close: bool) -> None:
        head = response.head(close=close)
        if not with_body:
            writer.write(head)
        elif response.file:
            path, offset, length = response.file
            writer.write(head)
            if length:
                with path.open("rb") as file:
                    await asyncio.get_running_loop().sendfile(writer.transport, file, offset, length)
        elif response.pieces is not None:
            writer.write(head)
            for piece in response.pieces:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        else:
            writer.write(head + response.body)
        await writer.drain()

    async def _answer(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return _error(405, "Only GET and HEAD.")
        path, name = request.path, request.path.rpartition("/")[2]
        routes = (
            ("/streams", self._streams),
            ("/media/", self._file),
            ("/proxy", self._proxy),
            ("/refused/", _refused),
            ("/expiring/", self._expiring),
            ("/stalled/", self._stalled),
            ("/subtitles/", _subtitles),
            ("/sabr/download/", self._sabr),
            ("/hls/", self._hls),
        )
        for prefix, answer in routes:
            if path.startswith(prefix):
                return await answer(name, request)
        return _error(404, "There is nothing here.")

    async def _streams(self, _name: str, request: Request) -> Response:
        name = source_name(request.query("url"))
        if name in REFUSALS:
            return _error(*REFUSALS[name])
        if name == "broken":
            return Response(body=b"<html>not JSON</html>", content_type="text/html")
        if name == "late":
            self._uses[request.target] += 1
            if self._uses[request.target] == 1:
                return _error(404, "It will be here shortly.")
        if name == "slow":
            await asyncio.sleep(_SLOW_SECONDS)
        if name == "down" or (name == "flaky" and self.flaky_times > 0):
            self.flaky_times -= name == "flaky"
            return _error(503, "Come back later.")
        body = await asyncio.to_thread(self._offers.body, _ALIASES.get(name, name), self.base)
        if body and name == "stalled":
            body = body.replace(b"/media/", b"/stalled/")
        if body and name == "expiring":
            self._links += 1
            body = body.replace(b"/media/", b"/expiring/%d/" % self._links)
        return Response(body=body) if body else _error(404, "There is no such source.")

    async def _proxy(self, _name: str, request: Request) -> Response:
        path = urlsplit(request.query("url")).path
        if path.startswith("/expiring/"):
            request = Request(request.method, path, request.headers)
            return await self._expiring(path.rpartition("/")[2], request)
        return await self._file(path.rpartition("/")[2], request)

    async def _stalled(self, name: str, request: Request) -> Response:
        await asyncio.sleep(_SLOW_SECONDS)
        return await self._file(name, request)

    async def _expiring(self, name: str, request: Request) -> Response:
        self._uses[request.path] += 1
        if self._uses[request.path] > LINK_USES:
            return _error(403, "This link has expired.")
        return await self._file(name, request)

    async def _file(self, name: str, request: Request) -> Response:
        if name not in RECIPES:
            return _error(404, "There is no such file.")
        path = self.folder / name
        if path not in self._memory:
            await asyncio.to_thread(media_file, self.folder, name)
            self._memory[path] = path.read_bytes() if path.stat().st_size <= _KEPT_IN_MEMORY else b""
        kept = self._memory[path]
        size = len(kept) or path.stat().st_size
        etag = f'"{name}-{size}"'
        headers = {"Accept-Ranges": "bytes", "ETag": etag}
        content_type = _TYPES[path.suffix]
        status, found = 200, (0, size)
        wanted = request.headers.get("range", "")
        if wanted and request.headers.get("if-range", etag) == etag:
            part = _range(wanted.removeprefix("bytes="), size)
            if part is None:
                return Response(416, content_type=content_type, headers={"Content-Range": f"bytes */{size}"})
            status, found = 206, part
            headers["Content-Range"] = f"bytes {found[0]}-{found[1] - 1}/{size}"
        elif request.query("range"):
            found = _range(request.query("range"), size) or (size, size)
        start, end = found
        if kept:
            return Response(status, kept[start:end], content_type, headers)
        return Response(status, content_type=content_type, headers=headers, file=(path, start, end - start))

    async def _sabr(self, name: str, request: Request) -> Response:
        tracks: list[tuple[int, Path]] = []
        for kind, suffix in (("videoItag", ".mp4"), ("audioItag", ".m4a")):
            itag = request.query(kind)
            wanted = itag and not (kind == "videoItag" and request.query("audioOnly") == "true")
            if wanted and name + suffix in RECIPES:
                tracks.append((int(itag), await asyncio.to_thread(media_file, self.folder, name + suffix)))
        part, parts = int(request.query("part", "0")), int(request.query("parts", "1"))
        if not tracks or not 0 <= part < parts <= 12:
            return _error(400, "These tracks or this part are not offered.")
        return Response(content_type=framing.SABR_TYPE, pieces=framing.sabr_body(tracks, part, parts))

    async def _hls(self, name: str, _request: Request) -> Response:
        seconds = DURATIONS["playlist"]
        if name == "master.m3u8":
            variants = [(720, 2_000_000, f"{self.base}/hls/fmp4.m3u8"), (360, 500_000, f"{self.base}/hls/ts.m3u8")]
            text = framing.master_playlist(variants)
        elif name == "split.m3u8":
            text = framing.split_playlist(f"{self.base}/hls/picture.m3u8", f"{self.base}/hls/sound.m3u8")
        elif name in ("picture.m3u8", "sound.m3u8"):
            file = "short.mp4" if name.startswith("picture") else "short.m4a"
            path = await asyncio.to_thread(media_file, self.folder, file)
            text = framing.fmp4_playlist(path, f"{self.base}/media/{file}", DURATIONS["short"])
        elif name in ("fmp4.m3u8", "ts.m3u8"):
            file = "playlist.ts" if name.startswith("ts") else "playlist.mp4"
            path = await asyncio.to_thread(media_file, self.folder, file)
            make = framing.ts_playlist if file.endswith(".ts") else framing.fmp4_playlist
            text = make(path, f"{self.base}/media/{file}", seconds)
        else:
            return _error(404, "There is no such playlist.")
        return Response(body=text.encode(), content_type="application/vnd.apple.mpegurl")


async def _refused(_name: str, _request: Request) -> Response:
    return _error(403, "Only through the proxy.")


async def _subtitles(_name: str, _request: Request) -> Response:
    return Response(body=SUBTITLES.encode(), content_type="text/vtt")


def _error(status: int, sentence: str) -> Response:
    return Response(status, json.dumps({"error": sentence}).encode())


def _range(text: str, size: int) -> tuple[int, int] | None:
    """``a-b``, ``a-`` or ``-n`` as (start, end), the end excluded; None when nothing of it lies in the file."""
    found = re.fullmatch(r"(\d*)-(\d*)", text)
    if not found or not (found[1] or found[2]):
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size
    start, end = int(found[1]), min(size, int(found[2] or size) + 1)
    return (start, end) if start < end else None


@contextlib.asynccontextmanager
async def serving(standin: StandIn):
    """The stand-in listening in the running loop."""
    server = await standin.start()
    try:
        yield standin
    finally:
        await standin.end(server)
