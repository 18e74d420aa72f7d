"""The way in: fetches all tracks of a plan at once into a job's work folder.

One ``Engine`` per process; ``fetch`` may run in several threads at once and blocks until its job's tracks are there.
Each call has a wire (connections, curl handles) of its own; what jobs share is the budget per host.
"""

import itertools
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

from downloader.config import Settings
from downloader.errors import DownloadError, MediaTooLarge, TimedOut
from downloader.fetch.budget import HostBudget
from downloader.fetch.failures import disk_error
from downloader.fetch.libc import keep_freed_memory
from downloader.fetch.limits import MIB, Limits
from downloader.fetch.programme import HlsProgramme
from downloader.fetch.ranged import RangedTrack
from downloader.fetch.route import Router
from downloader.fetch.sabr import SabrTracks
from downloader.fetch.task import Context, Download, Task
from downloader.fetch.transfer import Wire
from downloader.fetch.writer import Writer
from downloader.handoff import Fetched, Track

T = TypeVar("T")

FOLDER = "fetch"
"""The folder of a job's tracks, in its work folder."""

_HOST_SHARE = 4  # how many streams' connections one host gets from the whole process
_MAX_PER_HOST = 64
_KEPT = 16 * MIB  # freed bytes: about what a fast job has in its hands


class Engine:
    """See the module. ``resolve`` pins names to addresses as ``name:port:address`` (curl's RESOLVE)."""

    def __init__(self, settings: Settings, limits: Limits | None = None, *, resolve: tuple[str, ...] = ()) -> None:
        self._settings = settings
        self._limits = limits or Limits()
        self._resolve = resolve
        per_host = max(settings.download_workers, min(_MAX_PER_HOST, settings.download_workers * _HOST_SHARE))
        self._budget = HostBudget(per_host)
        self._executor = ThreadPoolExecutor(max_workers=8, thread_name_prefix="fetch-disk")
        # Apart, because resolving a link again may take as long as TypeType-Server takes.
        self._resolvers = ThreadPoolExecutor(max_workers=8, thread_name_prefix="fetch-links")
        self._users = itertools.count(1)
        keep_freed_memory(_KEPT)

    def fetch(self, tracks: Sequence[Track], task: Task) -> Fetched:
        """All tracks, whole and forced to the disk; optional ones that failed are missing and named in ``warnings``.

        Raises errors of downloader.errors: what ``task.check`` raises, or why a track could not be had. What is on
        disk stays for a later attempt when the error's verdict says so.
        """
        router = Router(self._settings, authorization=task.authorization, request_id=task.request_id)
        downloads: list[Download] = []
        warnings: list[str] = []
        with ExitStack() as stack:  # one entry each: whatever fails to close keeps nothing else open
            writer = Writer()
            stack.callback(writer.close)
            wire = self._wire(router)
            stack.callback(wire.close)
            context = self._context(task, router, wire, writer)
            try:
                task.check()  # an attempt that was paused since its claim touches no file
                for group in _grouped(tracks):
                    _open(group, context, downloads, warnings, stack)
                self._drive(downloads, wire, task)
            except TimedOut as error:
                raise TimedOut(_with_reason(error.message, downloads)) from error
            except OSError as error:
                raise disk_error(error) from error
        return _outcome(downloads, warnings)

    def close(self) -> None:
        """End the engine's threads."""
        for executor in (self._resolvers, self._executor):
            executor.shutdown(wait=True, cancel_futures=True)

    def _wire(self, router: Router) -> Wire:
        return Wire(
            router,
            self._limits,
            http2=self._settings.download_http2,
            proxy=self._settings.media_proxy_url,
            resolve=self._resolve,
        )

    def _context(self, task: Task, router: Router, wire: Wire, writer: Writer) -> Context:
        return Context(
            folder=task.work / FOLDER,
            epoch=task.epoch,
            wire=wire,
            router=router,
            limits=self._limits,
            budget=self._budget,
            executor=_Waking(self._executor, wire),
            resolvers=_Waking(self._resolvers, wire),
            writer=writer,
            refresh=task.refresh,
            workers=self._settings.download_workers,
            chunk_size=self._settings.download_chunk_size,
            max_bytes=self._settings.media_max_bytes,
            user=next(self._users),
            random=random.Random(),  # noqa: S311 - jitter
        )

    def _drive(self, downloads: Sequence[Download], wire: Wire, task: Task) -> None:
        """The loop: look after everything every tick, send what may be sent, move bytes in between."""
        due = 0.0
        while True:
            now = time.monotonic()
            if now >= due:
                due = now + self._limits.tick
                task.check()
                if task.deadline is not None and now >= task.deadline:
                    raise TimedOut("The job took longer than it may.")
                for download in downloads:
                    if download.error is None and not download.finished:
                        download.tick(now)
                self._report(downloads, task)
            _raise_failure(downloads)
            if all(download.finished or download.error for download in downloads):
                return
            _send(downloads, wire, now)
            if wire.run(max(0.0, due - time.monotonic())):
                due = 0.0  # something has ended: what follows it need not wait for the next tick

    def _report(self, downloads: Sequence[Download], task: Task) -> None:
        live = [download for download in downloads if download.error is None]
        done = sum(download.done for download in live)
        if done > self._settings.media_max_bytes:
            raise MediaTooLarge("The media is larger than this service takes.")
        known = all(download.total or download.optional for download in live)
        task.progress(done, sum(download.total for download in live) if known else 0)


class _Waking(Executor):
    """Runs on another executor and wakes the job's thread with each result."""

    def __init__(self, inner: Executor, wire: Wire) -> None:
        self._inner = inner
        self._wire = wire

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """See Executor."""
        future = self._inner.submit(fn, *args, **kwargs)
        future.add_done_callback(lambda _: self._wire.wake())
        return future


def _open(
    tracks: Sequence[Track], context: Context, downloads: list[Download], warnings: list[str], stack: ExitStack
) -> None:
    try:
        download = _download(tracks, context)
        stack.callback(_let_go, download)
        downloads.append(download)
    except DownloadError as error:
        if not all(track.optional for track in tracks):
            raise
        warnings.append(error.message)


def _let_go(download: Download) -> None:
    """How the job ends is decided by now; what could not be noted any more is fetched again."""
    with suppress(DownloadError, OSError):
        download.close()


def _download(tracks: Sequence[Track], context: Context) -> Download:
    match tracks[0].transport:
        case "sabr":
            return SabrTracks(tracks, context)
        case "hls":
            return HlsProgramme(tracks[0], context)
        case _:
            return RangedTrack(tracks[0], context)


def _grouped(tracks: Sequence[Track]) -> list[list[Track]]:
    """What is fetched together: SABR streams all tracks of one URL at once, everything else comes alone."""
    groups: list[list[Track]] = []
    together: dict[str, list[Track]] = {}
    for track in tracks:
        if track.transport == "sabr" and track.url in together:
            together[track.url].append(track)
            continue
        groups.append([track])
        if track.transport == "sabr":
            together[track.url] = groups[-1]
    return groups


def _with_reason(message: str, downloads: Sequence[Download]) -> str:
    """Why the time did not suffice, where anything went wrong at all."""
    troubles = (download.trouble for download in downloads if not download.finished)
    reason = next((trouble.message for trouble in troubles if trouble is not None), "")
    return f"{message} {reason}".rstrip()


def _raise_failure(downloads: Sequence[Download]) -> None:
    for download in downloads:
        if download.error is not None and not download.optional:
            raise download.error


def _send(downloads: Sequence[Download], wire: Wire, now: float) -> None:
    """One request for each download in turn, until none wants another."""
    wanting = [download for download in downloads if download.error is None and not download.finished]
    while wanting:
        for download in list(wanting):
            exchange = download.next(now)
            if exchange is None:
                wanting.remove(download)
            else:
                wire.start(exchange)


def _outcome(downloads: Sequence[Download], warnings: list[str]) -> Fetched:
    tracks = [found for download in downloads if download.error is None for found in download.fetched()]
    warnings.extend(download.error.message for download in downloads if download.error is not None)
    return Fetched(
        tracks=tuple(tracks),
        bytes_moved=sum(download.moved for download in downloads),
        warnings=tuple(warnings),
    )
