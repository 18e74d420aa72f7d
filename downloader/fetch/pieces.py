"""A track that comes in pieces of unknown length (time slices, segments), put together in order in one file.

The first piece that is not whole goes straight to its place. A later one waits in a file of its own, because nobody
knows its place yet; when its turn comes, what it has is moved there inside the kernel and the rest goes straight.
"""

import os
from pathlib import Path

from downloader.fetch.trackfile import TrackFile


class Sink:
    """Where the bytes of one piece go: ``size`` of them so far, from ``base`` on in ``fd``."""

    __slots__ = ("base", "fd", "path", "size")

    def __init__(self, fd: int, base: int, path: Path | None) -> None:
        self.fd = fd
        self.base = base
        self.path = path  # of the file of its own; None when it goes straight
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        """The next bytes; raises OSError."""
        view = memoryview(data)
        while view:
            count = os.pwrite(self.fd, view, self.base + self.size)
            self.size += count
            view = view[count:]


class PieceFile:
    """The pieces of one track in its ``TrackFile``."""

    def __init__(self, file: TrackFile) -> None:
        self.file = file
        self._sinks: dict[int, Sink] = {}
        self._whole: set[int] = set()
        self._clear_sides()

    @property
    def head(self) -> int:
        """How many pieces from the beginning are whole and in place."""
        return self.file.pieces[0]

    @property
    def bytes(self) -> int:
        """All bytes on disk, of unfinished pieces as well."""
        return self.file.pieces[1] + sum(sink.size for sink in self._sinks.values())

    def size_of(self, number: int) -> int:
        """How many bytes of the unfinished piece ``number`` are on disk."""
        sink = self._sinks.get(number)
        return sink.size if sink is not None else 0

    def is_whole(self, number: int) -> bool:
        """Whether piece ``number`` (from 0) is there."""
        return number < self.head or number in self._whole

    def open(self, number: int) -> Sink:
        """Where piece ``number`` is to be written, from its beginning."""
        self.drop(number)
        if number == self.head:
            sink = Sink(self.file.fd, self.file.pieces[1], None)
        else:
            path = self.file.path.with_suffix(f".{number}.piece")
            sink = Sink(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644), 0, path)
        self._sinks[number] = sink
        return sink

    def drop(self, number: int) -> None:
        """Forget what there is of piece ``number``."""
        sink = self._sinks.pop(number, None)
        self._whole.discard(number)
        if sink is not None:
            _discard(sink)

    def complete(self, number: int) -> None:
        """Piece ``number`` is whole: put what can be put in place there."""
        self._whole.add(number)
        while self.head in self._sinks:
            at, sink = self.head, self._sinks[self.head]
            self._settle(sink)
            if at not in self._whole:
                break
            del self._sinks[at]
            self._whole.discard(at)
            start = self.file.pieces[1]
            self.file.done.add(start, start + sink.size)
            self.file.pieces = (at + 1, start + sink.size)
        self.file.note(force=True)

    def renew(self) -> None:
        """Begin anew."""
        self.close()
        self.file.renew()

    def close(self) -> None:
        """Let go of the files of unfinished pieces."""
        for number in list(self._sinks):
            self.drop(number)

    def _settle(self, sink: Sink) -> None:
        """Move what a sink has to its place, and let it go on there."""
        if sink.path is None:
            return
        start = self.file.pieces[1]
        _copy(sink.fd, self.file.fd, start, sink.size)
        _discard(sink)
        sink.fd, sink.base, sink.path = self.file.fd, start, None

    def _clear_sides(self) -> None:
        for path in self.file.path.parent.glob(f"{self.file.path.stem}.*.piece"):
            path.unlink(missing_ok=True)


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
