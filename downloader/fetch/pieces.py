"""A track that comes in pieces (time slices, segments), put together in order in one file.

A piece whose place is known goes straight there: the first one that is not whole, and every other one whose place its
owner can say. Only a piece of unknown place that comes early waits in a file of its own; when its turn comes, what it
has is moved inside the kernel and the rest goes straight.
"""

import os
from pathlib import Path

from downloader.fetch.failures import RangeRefused
from downloader.fetch.trackfile import TrackFile


class Misplaced(RangeRefused):
    """A piece does not belong where its owner said."""


class Sink:
    """Where the bytes of one piece go: ``size`` of them so far, from ``base`` on in ``fd``, both -1 until the first."""

    __slots__ = ("_owner", "base", "fd", "number", "path", "size")

    def __init__(self, owner: "PieceFile", number: int, base: int = -1) -> None:
        self._owner = owner
        self.number = number
        self.fd = -1
        self.base = base
        self.path: Path | None = None  # of the file of its own; None when it goes straight
        self.size = 0

    def place(self, base: int) -> None:
        """Say where the piece begins in the track; raises Misplaced when its bytes go elsewhere already."""
        if self.size == 0 and self.path is None:
            self.base = base
        elif self.path is not None or self.base != base:
            raise Misplaced("The media's index contradicts the media.")

    def write(self, data: bytes | memoryview) -> None:
        """The next bytes; raises OSError."""
        if self.fd < 0:
            self._owner.begin(self)
        view = memoryview(data)
        while view:
            count = os.pwrite(self.fd, view, self.base + self.size)
            self.size += count
            view = view[count:]


class Dropped(Sink):
    """What is on disk already comes once more, because another track of the same piece is needed."""

    __slots__ = ()

    def place(self, base: int) -> None:
        """See Sink."""

    def write(self, data: bytes | memoryview) -> None:
        """See Sink."""


class PieceFile:
    """The pieces of one track in its ``TrackFile``."""

    def __init__(self, file: TrackFile) -> None:
        self.file = file
        self.moved = 0
        """Bytes that came over the network in this run."""
        self._sinks: dict[int, Sink] = {}
        self._whole: set[int] = set()
        self._take_up()

    @property
    def head(self) -> int:
        """How many pieces from the beginning are whole and in place."""
        return self.file.pieces[0]

    @property
    def bytes(self) -> int:
        """All bytes on disk, of unfinished pieces as well."""
        return self.file.pieces[1] + sum(sink.size for sink in self._sinks.values())

    @property
    def empty(self) -> bool:
        """Whether nothing of it is there."""
        return not self.head and not self._sinks

    @property
    def early(self) -> list[tuple[int, int]]:
        """Pieces that are whole before their turn, and their bytes."""
        return [(number, self._sinks[number].size) for number in self._whole]

    def is_whole(self, number: int) -> bool:
        """Whether piece ``number`` (from 0) is there."""
        return number < self.head or number in self._whole

    def open(self, number: int, base: int | None = None) -> Sink:
        """Where piece ``number`` is to be written, from its beginning; at ``base`` where its place is known."""
        if self.is_whole(number):
            return Dropped(self, number)
        self.drop(number)
        sink = self._sinks[number] = Sink(self, number, -1 if base is None else base)
        return sink

    def begin(self, sink: Sink) -> None:
        """Its first bytes are here: decide where they go; raises OSError."""
        if sink.base < 0 and sink.number == self.head:
            sink.base = self.file.pieces[1]
        if sink.base >= 0:
            sink.fd = self.file.fd
            return
        sink.path = self._side(sink.number)
        sink.fd = os.open(sink.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        sink.base = 0

    def drop(self, number: int) -> None:
        """Forget what there is of piece ``number``, unless it is whole."""
        if number not in self._whole and (sink := self._sinks.pop(number, None)) is not None:
            self.moved += sink.size
            _discard(sink)

    def complete(self, number: int) -> None:
        """Piece ``number`` is whole: put what can be put in place there. Raises Misplaced, OSError."""
        sink = self._sinks.get(number)
        if sink is None or number in self._whole:
            return  # it was there already
        self._whole.add(number)
        self.moved += sink.size
        if sink.path is None:
            self.file.done.add(sink.base, sink.base + sink.size)
        self._advance()
        self._note_early()

    def renew(self) -> None:
        """Begin anew."""
        self._forget()
        self.file.renew()

    def discard(self) -> None:
        """Remove everything."""
        self._forget()
        self.file.discard()

    def close(self) -> None:
        """Let go of the files; what is whole stays."""
        for number, sink in list(self._sinks.items()):
            self.drop(number)
            if number in self._whole and sink.path is not None:
                os.close(sink.fd)
        self._sinks.clear()
        self.file.close()

    def _advance(self) -> None:
        while (sink := self._sinks.get(self.head)) is not None:
            self._settle(sink)
            if sink.number not in self._whole:
                break
            del self._sinks[sink.number]
            self._whole.discard(sink.number)
            start = self.file.pieces[1]
            self.file.done.add(start, start + sink.size)
            self.file.pieces = (sink.number + 1, start + sink.size)

    def _settle(self, sink: Sink) -> None:
        """Move what the head's sink has to its place, and let it go on there."""
        start = self.file.pieces[1]
        if sink.path is not None:
            _copy(sink.fd, self.file.fd, start, sink.size)
            _discard(sink)
            sink.fd, sink.base, sink.path = self.file.fd, start, None
        elif sink.size and sink.base != start:
            raise Misplaced("The media's index contradicts the media.")

    def _note_early(self) -> None:
        early = [self._sinks[number] for number in sorted(self._whole)]
        self.file.early = tuple((sink.number, sink.base, sink.base + sink.size) for sink in early if sink.path is None)
        self.file.aside = tuple((sink.number, sink.size) for sink in early if sink.path is not None)
        self.file.note(force=True)

    def _take_up(self) -> None:
        """Go on with what an earlier attempt left of pieces that came early; remove what is no use."""
        for number, start, end in self.file.early:
            sink = self._sinks[number] = Sink(self, number, start)
            sink.fd, sink.size = self.file.fd, end - start
        for number, size in self.file.aside:
            path = self._side(number)
            if path.exists() and path.stat().st_size == size:
                sink = self._sinks[number] = Sink(self, number, 0)
                sink.fd, sink.size, sink.path = os.open(path, os.O_RDWR | os.O_CLOEXEC), size, path
        self._whole = set(self._sinks)
        try:
            self._advance()
        except Misplaced:
            self._forget()
        kept = {sink.path for sink in self._sinks.values()}
        for path in self.file.path.parent.glob(f"{self.file.path.stem}.*.piece"):
            if path not in kept:
                path.unlink(missing_ok=True)

    def _side(self, number: int) -> Path:
        return self.file.path.with_suffix(f".{number}.piece")

    def _forget(self) -> None:
        self._whole.clear()
        for number in list(self._sinks):
            self.drop(number)


def _discard(sink: Sink) -> None:
    if sink.path is not None:
        os.close(sink.fd)
        sink.path.unlink(missing_ok=True)


def _copy(source: int, target: int, start: int, size: int) -> None:
    """Copy ``size`` bytes from the beginning of ``source`` to ``start`` in ``target``, inside the kernel."""
    at = 0
    while at < size:
        count = os.copy_file_range(source, target, size - at, at, start + at)
        if count == 0:
            raise OSError(5, "a piece is shorter than it was")
        at += count
