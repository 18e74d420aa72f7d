"""What one job brings to the engine, and what every download of it works with."""

import random
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from downloader.errors import DownloadError
from downloader.fetch.budget import HostBudget
from downloader.fetch.limits import Limits
from downloader.fetch.links import Refresh
from downloader.fetch.route import Router
from downloader.fetch.transfer import Exchange, Wire
from downloader.fetch.writer import Writer
from downloader.handoff import FetchedTrack


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One job's fetch.

    ``work`` is the job's folder, ``epoch`` fences its files. ``check()`` raises when the job is to end;
    ``progress(done, total)`` takes bytes, ``total`` is 0 while a track that must come has no known length.
    ``refresh(track)`` resolves an expired link again (blocking, in a thread of its own). ``deadline`` is a monotonic
    time, None for no limit.
    """

    work: Path
    epoch: int
    check: Callable[[], None]
    progress: Callable[[int, int], None]
    authorization: str | None = None
    request_id: str | None = None
    refresh: Refresh | None = None
    deadline: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the downloads of one job share. Bytes and counts as in the settings."""

    folder: Path
    epoch: int
    wire: Wire
    router: Router
    limits: Limits
    budget: HostBudget
    executor: Executor
    """For what waits for the disk."""
    resolvers: Executor
    """For what waits for TypeType-Server."""
    writer: Writer
    refresh: Refresh | None
    workers: int
    chunk_size: int
    max_bytes: int
    user: int
    random: random.Random

    def backoff(self, failures: int) -> float:
        """Seconds to wait after the n-th failure in a row: doubling, half of it random."""
        span = min(self.limits.backoff * (1 << max(0, failures - 1)), self.limits.backoff_cap)
        return span / 2 + self.random.random() * span / 2

    def pause(self, failures: int, error: DownloadError | None) -> float:
        """Seconds to wait after ``failures`` in a row, the last of them ``error``; longer where a host asks."""
        asked = error.retry_after if error is not None else None
        return max(self.backoff(max(1, failures)), min(asked or 0.0, self.limits.retry_after_cap))


class Download(Protocol):
    """One track (or several that come together) on its way. Everything runs in the job's thread."""

    optional: bool
    error: DownloadError | None
    """Why it was given up; nothing is called any more then but ``close``."""
    finished: bool
    trouble: DownloadError | None
    """What went wrong last, although it goes on."""

    @property
    def done(self) -> int:
        """Bytes on disk."""

    @property
    def total(self) -> int:
        """Bytes expected, as far as known; 0 while nothing is."""

    @property
    def moved(self) -> int:
        """Bytes that came over the network in this run."""

    def next(self, now: float) -> Exchange | None:
        """The next request to send, or None when there is none right now."""

    def tick(self, now: float) -> None:
        """Called every ``limits.tick`` seconds or so."""

    def fetched(self) -> tuple[FetchedTrack, ...]:
        """What it became, once it is finished."""

    def close(self) -> None:
        """Let go of everything. Files stay for a later attempt unless the error is final."""
