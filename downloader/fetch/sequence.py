"""Tracks that come in numbered pieces: which piece to ask for next, and what its failure leads to."""

import time
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Protocol

from downloader.errors import DownloadError, MediaTooLarge, SourceInvalid, Verdict
from downloader.fetch.failures import HostBusy, RangeRefused, disk_error
from downloader.fetch.http import Head
from downloader.fetch.limits import Patience
from downloader.fetch.pieces import Misplaced, PieceFile, Sink
from downloader.fetch.route import Request
from downloader.fetch.sniff import is_page, sniff, sniff_bytes
from downloader.fetch.task import Context
from downloader.fetch.trackfile import TrackFile
from downloader.fetch.transfer import Exchange
from downloader.handoff import FetchedTrack, Track

_NOT_YET = 99  # a track of unknown size is never said to be further than that many percent before its end


class PieceBody(Protocol):
    """What is done with the answer that carries one piece."""

    def head(self, head: Head) -> None:
        """Judge the head; raises to refuse it."""

    def feed(self, data: bytes, /) -> int | None:
        """The next bytes; raises to refuse them; -1 when no more are wanted."""

    def finish(self) -> None:
        """The answer is over; raises when the piece is not whole."""


class Piece:
    """See Exchange: the request for piece ``number``."""

    def __init__(
        self,
        owner: "Sequence",
        *,
        number: int,
        request: Request,
        headers: tuple[str, ...],
        patience: Patience,
        body: PieceBody,
    ) -> None:
        self.request = request
        self.headers = headers
        self.patience = patience
        self.number = number
        self._owner = owner
        self._body = body
        self._enough = False

    def head(self, head: Head) -> None:
        """See Exchange."""
        self._body.head(head)

    def body(self, data: bytes) -> int | None:
        """See Exchange."""
        result = self._body.feed(data)
        self._enough = result is not None
        return result

    def over(self, error: DownloadError | None) -> None:
        """See Exchange."""
        if error is None or self._enough:
            error = None
            try:
                self._body.finish()
            except DownloadError as failure:
                error = failure
        self._owner.ended(self, error)


class Sequence:
    """See Download. Subclasses say what the pieces are (``count``) and make their requests (``request_piece``)."""

    parallel: int
    window: int | None = None
    """How many pieces may be asked for ahead of the first that is not whole; None for any."""

    def __init__(self, tracks: Iterable[Track], context: Context) -> None:
        self.tracks = tuple(tracks)
        self.context = context
        self.optional = all(track.optional for track in self.tracks)
        self.error: DownloadError | None = None
        self.trouble: DownloadError | None = None
        self.finished = False
        self.count = 0
        self.files = {
            track.key: PieceFile(TrackFile(context.folder, track.key, context.epoch, context.executor))
            for track in self.tracks
        }
        self._active: dict[int, Piece] = {}
        self._failures: dict[int, int] = {}
        self._not_before: dict[int, float] = {}
        self._paused_until = 0.0
        self._finishing: list[Future[None]] = []

    @property
    def done(self) -> int:
        """See Download."""
        return sum(file.bytes for file in self.files.values())

    @property
    def moved(self) -> int:
        """See Download."""
        return sum(file.moved for file in self.files.values())

    @property
    def total(self) -> int:
        """See Download: declared, or as the whole pieces let expect; 0 where nothing does yet."""
        declared = [track.size for track in self.tracks]
        if all(declared):
            return max(sum(size for size in declared if size is not None), self.done)
        if self.count and all(file.head >= self.count for file in self.files.values()):
            return self.done
        expected = [self._expected(file) for file in self.files.values()]
        return max(sum(expected), self.done + self.done // _NOT_YET + 1) if all(expected) else 0

    def weight_before(self, number: int) -> float:
        """How much of the whole comes before piece ``number``, in any unit."""
        return float(number)

    def _expected(self, file: PieceFile) -> int:
        """Bytes of the whole file, by those of the pieces that are there; 0 when none is that weighs anything."""
        weight, size = self.weight_before(file.head), file.file.pieces[1]
        for number, length in file.early:
            weight += self.weight_before(number + 1) - self.weight_before(number)
            size += length
        return int(size * self.weight_before(self.count) / weight) if weight else 0

    def next(self, now: float) -> Exchange | None:
        """See Download."""
        if self.finished or self._finishing or now < self._paused_until or len(self._active) >= self.parallel:
            return None
        number = self._wanted(now)
        if number is None:
            return None
        place = self.place(number)
        piece = self.request_piece(number, {key: file.open(number, place) for key, file in self.files.items()})
        if not self.context.budget.acquire(piece.request.host, self.context.user, now):
            self._drop(number)
            return None
        self._active[number] = piece
        return piece

    def place(self, _number: int) -> int | None:
        """Where that piece begins in the file, or None when nobody knows before it comes."""
        return None

    def request_piece(self, number: int, sinks: dict[str, Sink]) -> Piece:
        """The request for piece ``number``; its bytes go to ``sinks`` by track key."""
        raise NotImplementedError

    def ended(self, piece: Piece, error: DownloadError | None) -> None:
        """A request is over; called by the piece, outside of callbacks."""
        self._retire(piece)
        self.trouble = error or self.trouble
        if isinstance(error, HostBusy):
            self.context.budget.blame(piece.request.host, time.monotonic())
        try:
            error = error or self._complete(piece.number)
            if error is None:
                self._failures.pop(piece.number, None)
            else:
                self._drop(piece.number)
                self.failed(piece.number, error, time.monotonic())
        except DownloadError as final:
            self.give_up(final)

    def failed(self, number: int, error: DownloadError, now: float) -> None:
        """Try piece ``number`` again after a pause, or raise ``error`` when that is of no use."""
        final = error.verdict is Verdict.FAIL and not isinstance(error, RangeRefused)
        # A host that serves other pieces at the same time complains about their number, not about this one.
        bearable = isinstance(error, HostBusy) and bool(self._active)
        failures = self._failures[number] = self._failures.get(number, 0) + (not bearable)
        limits = self.context.limits
        if final or failures >= (limits.faults if isinstance(error, RangeRefused) else limits.attempts):
            raise error
        pause = self.context.pause(failures, error)
        if error.retry_after is not None:
            self._paused_until = max(self._paused_until, now + pause)  # the host means every request
        self._not_before[number] = now + pause

    def tick(self, now: float) -> None:
        """See Download."""
        try:
            self.look_after(now)
        except DownloadError as error:
            self.give_up(error)

    def look_after(self, _now: float) -> None:
        """What is to be done every tick; raises to give up."""
        if self._finishing:
            if all(future.done() for future in self._finishing):
                for future in self._finishing:
                    future.result()
                self.finished = True
            return
        if self.done > self.context.max_bytes:
            raise MediaTooLarge("The media is larger than this service takes.")
        for file in self.files.values():
            file.file.note()
        if self.count and all(file.head >= self.count for file in self.files.values()):
            self._finish()

    def fetched(self) -> tuple[FetchedTrack, ...]:
        """See Download."""
        return tuple(self._fetched(track, self.files[track.key].file) for track in self.tracks)

    def close(self) -> None:
        """See Download."""
        self.abort()
        for future in self._finishing:
            future.exception()
        for file in self.files.values():
            if self.error is not None and (self.error.verdict is Verdict.FAIL or self.optional):
                file.discard()
            else:
                file.close()

    def abort(self) -> None:
        """Cut off what is on its way."""
        for piece in list(self._active.values()):
            self.context.wire.abort(piece)
            self._retire(piece)
            self._drop(piece.number)

    def renew(self) -> None:
        """Begin anew in new files."""
        self.abort()
        for file in self.files.values():
            file.renew()
        self._failures.clear()
        self._not_before.clear()

    def give_up(self, error: DownloadError) -> None:
        """End it with ``error``."""
        self.abort()
        self.error = error

    def _wanted(self, now: float) -> int | None:
        head = min(file.head for file in self.files.values())
        last = self.count if self.window is None else min(self.count, head + self.window)
        for number in range(head, last):
            waiting = number not in self._active and self._not_before.get(number, 0.0) <= now
            if waiting and not all(file.is_whole(number) for file in self.files.values()):
                return number
        return None

    def _finish(self) -> None:
        for track in self.tracks:
            file = self.files[track.key].file
            with file.path.open("rb") as stream:
                head = stream.read(512)
            if not head:
                raise SourceInvalid("The media is empty.")
            if is_page(head) or sniff_bytes(head) in ("text", "image"):
                raise SourceInvalid("What the host sent is not media.")
        executor = self.context.executor
        self._finishing = [executor.submit(file.file.finish, file.file.pieces[1]) for file in self.files.values()]

    def _fetched(self, track: Track, file: TrackFile) -> FetchedTrack:
        path = file.path.relative_to(self.context.folder.parent)
        return FetchedTrack(track, str(path), file.pieces[1], sniff(file.path))

    def _retire(self, piece: Piece) -> None:
        if self._active.pop(piece.number, None) is not None:
            self.context.budget.release(piece.request.host, self.context.user)

    def _complete(self, number: int) -> DownloadError | None:
        """Put piece ``number`` in its place; returns why it does not fit there."""
        try:
            for file in self.files.values():
                file.complete(number)
        except OSError as error:
            raise disk_error(error) from error
        except Misplaced as error:
            return error
        return None

    def _drop(self, number: int) -> None:
        for file in self.files.values():
            file.drop(number)
