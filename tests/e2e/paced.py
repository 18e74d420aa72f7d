"""The stand-in with a media host whose connections are slow, and which counts every byte it sends."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from tests.standin.server import Response, StandIn

_PIECE = 16 << 10


class Paced(StandIn):
    """Sends media at ``rate`` bytes per second and connection; ``sent`` are the bytes of each file so far."""

    def __init__(self, folder: Path, rate: int) -> None:
        super().__init__(folder)
        self.rate = rate
        self.sent: Counter[str] = Counter()

    async def _file(self, name: str, request: Any) -> Response:
        answer = await super()._file(name, request)
        answer.headers["X-Name"] = name
        return answer

    async def _send(self, writer: asyncio.StreamWriter, response: Response, *, with_body: bool, close: bool) -> None:
        name = response.headers.get("X-Name")
        if not with_body or name is None:
            await super()._send(writer, response, with_body=with_body, close=close)
            return
        body = response.body
        if response.file:
            path, offset, length = response.file
            body = path.read_bytes()[offset : offset + length]
        writer.write(response.head(close=close))
        for start in range(0, len(body), _PIECE):
            piece = body[start : start + _PIECE]
            writer.write(piece)
            await writer.drain()
            self.sent[name] += len(piece)
            await asyncio.sleep(len(piece) / self.rate)
