"""A track fetched by ranges: what to ask for next, what an answer means, what a failure leads to."""

import contextlib
import os
import time
from concurrent.futures import Future

import msgspec

from downloader.errors import (
    DownloadError,
    DownloadFailed,
    SourceForbidden,
    SourceGone,
    SourceInvalid,
    UpstreamChanged,
    Verdict,
)
from downloader.fetch import answers, takeover
from downloader.fetch.chunk import Chunk
from downloader.fetch.concurrency import Concurrency
from downloader.fetch.failures import HostBusy, LengthUnknown, RangeRefused, disk_error
from downloader.fetch.gaps import UNKNOWN, Gap
from downloader.fetch.http import Head
from downloader.fetch.identity import Identity
from downloader.fetch.probe import Probe
from downloader.fetch.sniff import is_page, sniff
from downloader.fetch.state import RangeState
from downloader.fetch.task import Context
from downloader.handoff import FetchedTrack, Track

_PROGRESS = 1024  # bytes that count as progress and reset a range's failures; of a short range, half of it
_WAITS = 8  # of a chunk's time, a ninth may pass until its first byte


class RangedTrack:
    """See Download. What is known about the track is in its ``RangeState``; here it is acted upon."""

    def __init__(self, track: Track, context: Context) -> None:
        self.optional = track.optional
        self.error: DownloadError | None = None
        self.trouble: DownloadError | None = None
        self.finished = False
        self.moved = 0
        self._context = context
        self._state = RangeState(track, context)
        self._concurrency = Concurrency(context.workers)
        self._active: set[Chunk] = set()
        self._probe: Probe | None = None
        self._probes = 0
        self._probe_not_before = 0.0
        self._finishing: Future[None] | None = None
        self._unwritten: OSError | None = None
        self._faults = self._restarts = self._launched = self._thieves_failed = 0
        self._paused_until = self._thief_not_before = self._flushed_at = 0.0
        self._pace: float | None = None  # bytes per second of a typical connection, lately
        self._wait = 0.0  # seconds that it waits for a head

    @property
    def done(self) -> int:
        """See Download."""
        return self._state.file.done.total

    @property
    def total(self) -> int:
        """See Download."""
        size = self._state.size or self._state.track.size
        return 0 if size is None else max(size, self.done)

    def next(self, now: float) -> Chunk | Probe | None:
        """See Download."""
        if self.finished or self._finishing is not None or self._state.links.waiting or now < self._paused_until:
            return None
        if self._unprobed and now >= self._probe_not_before:
            self._probe = Probe(self._state.links.request, self._context.limits, self._probed)
            return self._probe
        width = 1 if self._state.plain or not self._state.pinned else self._concurrency.width
        if len(self._active) >= width:
            return None
        gap = self._state.gaps.take(now, self._chunk_size())
        if gap is None:
            return None if self._state.plain or self._state.gaps else self._thief(now)
        if not self._context.budget.acquire(self._state.links.request.host, self._context.user, now):
            self._state.gaps.put(gap)
            return None
        return self._launch(gap, now)

    def tick(self, now: float) -> None:
        """See Download."""
        try:
            self._tick(now)
        except DownloadError as error:
            self._give_up(error)
        except OSError as failure:
            self._give_up(disk_error(failure))

    def fetched(self) -> tuple[FetchedTrack, ...]:
        """See Download."""
        path = self._state.file.path.relative_to(self._context.folder.parent)
        return (FetchedTrack(self._state.track, str(path), self.done, sniff(self._state.file.path)),)

    def close(self) -> None:
        """See Download."""
        try:
            self._abort_all()
            self._state.links.cancel()
            if self._finishing is not None:
                self._finishing.exception()
        finally:
            final = self.error is not None and (self.error.verdict is Verdict.FAIL or self.optional)
            self._state.file.discard() if final else self._state.file.close()

    def accept(self, chunk: Chunk, head: Head) -> None:
        """Judge the head of an answer; called by the chunk, inside curl's callback."""
        pinned = self._state.pinned
        self._state.accept(chunk, head)
        if self._state.pinned and not pinned:
            self._context.wire.wake()  # the others may begin
        if not chunk.owns:
            self._thieves_failed = 0
        takeover.win(chunk)

    def wrote(self, start: int, end: int) -> None:
        """See Sink."""
        self.moved += end - start
        self._state.file.done.add(start, end)
        self._state.file.note()

    def unwritten(self, error: OSError) -> None:
        """See Sink."""
        self._unwritten = error

    def ended(self, chunk: Chunk, error: DownloadError | None) -> None:
        """A request is over; called by the chunk, outside of callbacks."""
        try:
            self._retire(chunk)
            self._settle(chunk, error)
        except DownloadError as final:
            self._give_up(final)
        except OSError as failure:
            self._give_up(disk_error(failure))

    # ---- what to ask for

    def _chunk_size(self) -> int:
        if self._state.plain:
            return UNKNOWN
        limits, context = self._context.limits, self._context
        most = min(context.chunk_size, self._state.links.request.chunk or context.chunk_size)
        ramp = limits.first_chunk << min(2 * -(-self._launched // context.workers), 20)
        least: float = limits.first_chunk
        if self._pace is not None:  # what takes a second, or several waits for a head where that is more
            least = max(min(least, self._pace), _WAITS * self._wait * self._pace, limits.takeover_min)
        return min(most, ramp, max(int(least), self._state.gaps.bytes // (2 * context.workers)))

    def _launch(self, gap: Gap, now: float) -> Chunk:
        request, headers = self._state.ask(gap)
        span = (gap.start - gap.overlap, gap.end)
        chunk = Chunk(
            self,
            request,
            headers,
            span,
            writer=self._context.writer,
            fd=self._state.file.fd,
            patience=self._context.limits.media,
            started=now,
            failures=gap.failures,
            crawls=gap.crawls,
            link=self._state.links.number,
        )
        if gap.overlap:
            chunk.start_late(gap.overlap)
        self._active.add(chunk)
        self._launched += 1
        return chunk

    def _thief(self, now: float) -> Chunk | None:
        """A request that takes over from the slowest; both run until its first byte is there."""
        if now < self._thief_not_before:
            return None
        typical = takeover.typical_pace(self._active)
        found = takeover.choose(self._active, now, typical, self._wait, self._context.limits)
        if found is None or not self._context.budget.acquire(self._state.links.request.host, self._context.user, now):
            return None
        chunk = self._launch(Gap(found.start, found.victim.end), now)
        chunk.owns, chunk.victim, found.victim.thief = False, found.victim, chunk
        return chunk

    @property
    def _unprobed(self) -> bool:
        """Whether it is still to be asked how large the track is: answers to ranges in the query do not say."""
        return self._state.querying and self._probe is None and self._state.file.identity.size is None

    def _probed(self, found: Identity | None) -> None:
        if self._probe is not None and self._probe.failed and self._probes < self._context.limits.attempts:
            self._probe, self._probes = None, self._probes + 1
            self._probe_not_before = time.monotonic() + self._context.backoff(self._probes)
            return
        try:
            if found is not None and found.size is not None and self._state.file.identity.size is None:
                answers.check_identity(self._state.links.request.host, self._state.file.identity, found, vouched=False)
                self._state.file.pin(found)
                self._state.resize(found.size)
        except UpstreamChanged as error:
            self._restart(error)
        except DownloadError as error:
            self._give_up(error)

    # ---- what failures lead to

    def _settle(self, chunk: Chunk, error: DownloadError | None) -> None:
        now = time.monotonic()
        if not chunk.owns:
            self._thieves_failed += error is not None
            self._thief_not_before = now + self._pause(chunk, error, self._thieves_failed, now)
            return
        if chunk.unbounded and error is None:
            self._state.size = chunk.end = chunk.at
            chunk.unbounded = False
        if not chunk.whole or chunk.unbounded:
            self._broken(chunk, error, now)
        else:
            self._faults = 0

    def _broken(self, chunk: Chunk, error: DownloadError | None, now: float) -> None:
        """Something of the chunk is missing."""
        takeover.inherit(chunk)
        self.trouble = error = error or DownloadFailed(f"The download from {chunk.request.host} ended too early.")
        late = chunk.link != self._state.links.number
        match error:
            case UpstreamChanged():
                self._restart(error)
            case LengthUnknown() if not late:
                self._without_length(error)
            case RangeRefused() if not late:
                self._fault(chunk, error, now)
            case SourceForbidden() | SourceGone():
                self._requeue(chunk, now, pause=0.0, failures=chunk.failures)
                if not late:
                    self._state.links.replace(error, expired=True)
            case _ if error.verdict is Verdict.FAIL and not late:
                raise error
            case _:
                self._again(chunk, error, now)

    def _again(self, chunk: Chunk, error: DownloadError, now: float) -> None:
        """Another try of what is left, after a pause that grows with each failure without progress."""
        progress = chunk.at - chunk.first >= min(_PROGRESS, max(1, (chunk.end - chunk.first) // 2))
        # A host that serves others of ours at the same time complains about their number, not about this range.
        bearable = isinstance(error, HostBusy) and bool(self._active)
        failures = 0 if progress else chunk.failures + (not bearable)
        pause = self._pause(chunk, error, failures, now)
        if error.retry_after is not None:
            self._paused_until = max(self._paused_until, now + pause)
        if failures >= self._context.limits.attempts:
            self._state.links.replace(error, expired=False)
            failures = 0
        self._requeue(chunk, now, pause=pause, failures=failures)

    def _pause(self, chunk: Chunk, error: DownloadError | None, failures: int, now: float) -> float:
        """How long to wait after ``failures`` in a row, in seconds; a busy host gets fewer connections from now on."""
        if isinstance(error, HostBusy):
            self._context.budget.blame(chunk.request.host, now)
        return self._context.pause(failures, error)

    def _fault(self, chunk: Chunk, error: DownloadError, now: float) -> None:
        """A breach of the range protocol: again, then by header, then in one piece, then from elsewhere."""
        self._faults += 1
        if self._faults < self._context.limits.faults:
            self._requeue(chunk, now, pause=self._context.backoff(self._faults), failures=chunk.failures)
            return
        self._faults = 0
        if self._state.querying:
            self._state.query = False
            self._requeue(chunk, now, pause=0.0, failures=0)
        elif not self._state.plain:
            self._renew(plain=True)
        else:
            self._state.links.replace(error, expired=False)
            self._renew(plain=self._state.small is not None)

    def _without_length(self, error: DownloadError) -> None:
        if self._state.links.proxied_next:
            self._state.links.replace(error, expired=False)
            self._renew(plain=False)
        elif self._state.plain:
            raise error
        else:
            self._renew(plain=True)

    def _restart(self, error: DownloadError) -> None:
        """The object changed: begin anew, at last in one piece, which no change can tear."""
        self._restarts += 1
        if self._restarts > self._context.limits.restarts:
            raise error
        self._renew(plain=self._state.plain or self._restarts == self._context.limits.restarts)
        self._paused_until = time.monotonic() + self._context.backoff(self._restarts)

    def _renew(self, *, plain: bool) -> None:
        self._abort_all()
        self._state.file.renew()
        self._state.if_range, self._probe = True, None
        self._state.plan(plain=plain)

    def _requeue(self, chunk: Chunk, now: float, *, pause: float, failures: int) -> None:
        end = chunk.end
        if self._state.plain:
            end = UNKNOWN if self._state.size is None else self._state.size
        elif self._state.size is not None:
            end = min(end, self._state.size)
        overlap = chunk.overlap if chunk.at == chunk.first else 0
        self._state.gaps.put(Gap(chunk.at, end, failures, now + pause, overlap, chunk.crawls))

    # ---- housekeeping

    def _tick(self, now: float) -> None:
        if self._finishing is not None:
            if self._finishing.done():
                self._finishing.result()
                self.finished = True
            return
        self._take_fresh_link()
        self._context.writer.collect()
        flush = now - self._flushed_at >= self._context.limits.tick
        for chunk in list(self._active):
            if flush:
                chunk.flush()
            if chunk.whole or (not chunk.owns and chunk.victim not in self._active):
                self._context.wire.abort(chunk)
                self.ended(chunk, None)
        self._flushed_at = now if flush else self._flushed_at
        self._concurrency.observe(now, self.moved, len(self._active))
        takeover.sample(self._active, now)
        self._pace = takeover.typical_pace(self._active) or self._pace
        self._wait = takeover.typical_wait(self._active) or self._wait
        if self._active and not self._state.plain:
            for chunk in takeover.crawling(self._active, now, self._context.limits):
                self._context.wire.abort(chunk)
                self._retire(chunk)
                chunk.crawls += 1
                self._requeue(chunk, now, pause=0.0, failures=chunk.failures)
        if self._unwritten is not None:
            raise self._unwritten
        self._state.file.note()
        self._maybe_finish()

    def _take_fresh_link(self) -> None:
        fresh = self._state.links.settle()
        if fresh is None:
            return
        state = self._state
        if fresh.itag != state.track.itag or (fresh.size or state.size) != (state.size or fresh.size):
            state.track = msgspec.structs.replace(state.track, url=fresh.url, size=fresh.size, itag=fresh.itag)
            self._renew(plain=state.small is not None)

    def _maybe_finish(self) -> None:
        if (
            self.error is not None
            or self._active
            or self._state.gaps
            or self._state.size is None
            or self._state.links.waiting
        ):
            return
        if self._unprobed or (self._probe is not None and not self._probe.ended):
            return
        self._context.writer.settle()
        if self._unwritten is not None:
            return
        if self._state.file.done.prefix != self._state.size:
            self._state.plan(plain=self._state.plain)  # a rest that nobody works on: ask for it again
            return
        if is_page(os.pread(self._state.file.fd, 256, 0)):
            raise SourceInvalid(f"The media host {self._state.links.request.host} sent a page instead of the media.")
        self._finishing = self._context.executor.submit(self._state.file.finish, self._state.size)

    def _retire(self, chunk: Chunk) -> None:
        if chunk in self._active:
            self._active.discard(chunk)
            self._context.budget.release(chunk.request.host, self._context.user)
        if chunk.victim is not None:
            chunk.victim.thief = None
        chunk.flush()

    def _abort_all(self) -> None:
        for chunk in list(self._active):
            self._context.wire.abort(chunk)
            with contextlib.suppress(OSError):  # what cannot be written is not claimed either
                self._retire(chunk)
        self._context.writer.settle()
        if self._probe is not None and not self._probe.ended:
            self._context.wire.abort(self._probe)
            self._probe = None

    def _give_up(self, error: DownloadError) -> None:
        self.error = error
        self._abort_all()
