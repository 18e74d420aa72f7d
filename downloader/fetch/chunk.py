"""One ranged request of a track on its way: the bytes go from the socket straight to their place in the file."""

import os
import time
from typing import Protocol

from downloader.errors import DownloadError, MediaTooLarge, UpstreamChanged
from downloader.fetch.http import Head
from downloader.fetch.limits import Patience
from downloader.fetch.route import Request
from downloader.fetch.writer import GATHER, Sink, Writer


class ChunkOwner(Sink, Protocol):
    """The track a chunk belongs to."""

    def accept(self, chunk: "Chunk", head: Head) -> None:
        """Judge an answer's head; raises to refuse it."""

    def ended(self, chunk: "Chunk", error: DownloadError | None) -> None:
        """The chunk is over."""


class Chunk:
    """A request for ``[start, end)``.

    ``at`` is where the next byte goes; what lies before is on its way to the disk, and the owner hears of it when it is
    there. ``end`` may shrink while it runs: a thief's first byte ends its victim there.
    ``skip`` bytes of the body are dropped first, because they are on disk already. ``owns`` is False for a thief that
    waits for its first byte: until then the range is still its victim's.
    """

    __slots__ = (
        "asked", "at", "batch", "crawls", "end", "failures", "fd", "first", "headed", "headers", "held", "link",
        "overlap", "owner", "owns", "pace", "patience", "request", "sampled", "sampled_at", "skip", "start",
        "started", "thief", "unbounded", "victim", "waited", "writer",
    )  # fmt: skip

    def __init__(
        self,
        owner: ChunkOwner,
        request: Request,
        headers: tuple[str, ...],
        span: tuple[int, int],
        *,
        writer: Writer,
        fd: int,
        patience: Patience,
        started: float,
        failures: int = 0,
        crawls: int = 0,
        link: int = 0,
    ) -> None:
        self.owner = owner
        self.request = request
        self.headers = headers
        self.writer = writer
        self.fd = fd
        self.start, self.end = span
        self.asked = self.end
        self.at = self.first = self.sampled = self.start
        self.patience = patience
        self.started = self.sampled_at = started
        self.failures = failures
        self.crawls = crawls
        self.link = link
        self.batch: list[bytes] = []
        self.held = 0  # bytes in it
        self.skip = 0
        self.overlap = 0
        self.owns = True
        self.headed = False
        self.waited = 0.0  # seconds until its head
        self.unbounded = False  # the body's end is not known: reaching ``end`` is too much
        self.victim: Chunk | None = None
        self.thief: Chunk | None = None
        self.pace: float | None = None  # bytes per second, lately

    def start_late(self, overlap: int) -> None:
        """The first ``overlap`` bytes are on disk from an earlier attempt: compare them instead of writing them."""
        self.skip = self.overlap = overlap
        self.at = self.first = self.sampled = self.start + overlap

    def head(self, head: Head) -> None:
        """See Exchange."""
        self.owner.accept(self, head)
        self.headed, self.waited = True, time.monotonic() - self.started
        self.first = self.at

    def body(self, data: bytes) -> int | None:
        """See Exchange. The hot path: 65,536 calls a GiB, gathered because one large write costs less than many."""
        size = len(data)
        if self.at + size > self.end or self.skip:
            return self._edge(data)
        self._keep(data, size)
        return None

    def flush(self) -> None:
        """Write what was gathered, or hand it over to be written; raises OSError."""
        if self.held:
            batch, held = self.batch, self.held
            self.batch, self.held = [], 0
            self.writer.write(self.owner, self.fd, batch, self.at - held, held)

    @property
    def whole(self) -> bool:
        """Whether all that it is to bring is here."""
        return self.at >= self.end

    def over(self, error: DownloadError | None) -> None:
        """See Exchange."""
        self.owner.ended(self, error)

    def _edge(self, data: bytes) -> int | None:
        dropped = min(self.skip, len(data))
        if self.overlap and data[:dropped] != os.pread(self.fd, dropped, self.at - self.skip):
            raise UpstreamChanged(f"The media at {self.request.host} changed since its download began.")
        self.skip -= dropped
        wanted = data[dropped : dropped + max(0, self.end - self.at)]
        self._keep(wanted, len(wanted))
        if dropped + len(wanted) == len(data):
            return None
        if self.unbounded:
            raise MediaTooLarge("The media is larger than this service takes.")
        return -1

    def _keep(self, data: bytes, size: int) -> None:
        self.batch.append(data)
        self.at += size
        self.held += size
        if self.held >= GATHER:
            self.flush()
