"""A track's file on disk with its journal: opened or resumed, marked as bytes arrive, finished."""

import os
import time
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from pathlib import Path

from downloader.errors import StorageFailed
from downloader.fetch.identity import Identity
from downloader.fetch.journal import Journal, Record, boot_id, newest
from downloader.fetch.libc import start_writeback
from downloader.fetch.limits import MIB
from downloader.fetch.ranges import Ranges

_NOTE_SECONDS = 0.005  # how much may be lost when the process dies
_SYNC_SECONDS = 2.0  # and when the machine dies
_WRITEBACK_BYTES = 16 * MIB  # how much gathers before the disk begins with it, so that the end need not wait
_BOOT = boot_id()


class TrackFile:
    """The bytes of one track. Used by one thread; forcing data to the disk happens on ``syncer``'s threads.

    Files are called ``<key>.<epoch>-<n>.media`` and ``.journal``. An attempt only ever takes up files of its own epoch
    or of earlier ones, removes earlier ones that it cannot use, and leaves alone what a later one began or took up.
    """

    def __init__(self, folder: Path, key: str, epoch: int, syncer: Executor) -> None:
        self._folder = folder
        self._key = key
        self._epoch = epoch
        self._syncer = syncer
        self._pending: tuple[Future[None], Ranges] | None = None
        self._writeback: Future[None] | None = None
        self.path: Path
        self.fd: int
        self.identity: Identity
        self.done: Ranges
        self.pieces: tuple[int, int]  # how many pieces are whole, and their bytes: a sequence's prefix
        self.early: tuple[tuple[int, int, int], ...]  # see Record
        self.aside: tuple[tuple[int, int], ...]
        self.complete: bool
        self._journal: Journal
        self._journal_path: Path
        self._open = ExitStack()  # what is to be closed
        self._synced: Ranges
        self._sequence: int
        self._noted_at: float
        self._synced_at: float
        self._noted_bytes: int
        self._started_bytes: int  # how many the disk has begun with
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as failed:
            failed.callback(self._open.close)
            if not self._resume():
                self._create()
            failed.pop_all()

    def note(self, *, force: bool = False) -> None:
        """Write the journal when there is enough to say, and start forcing data to the disk when it is time."""
        self._settle(wait=False)
        now = time.monotonic()
        grown = self.done.total - self._noted_bytes
        if force or (grown and now - self._noted_at >= _NOTE_SECONDS):
            self._write(complete=False)
        if self._pending is not None or self.done.total == self._synced.total:
            return
        if now - self._synced_at >= _SYNC_SECONDS:
            self._synced_at, self._started_bytes = now, self.done.total
            self._pending = (self._syncer.submit(os.fdatasync, self.fd), Ranges(self.done))
        elif self.done.total - self._started_bytes >= _WRITEBACK_BYTES and not self._writing_back:
            self._started_bytes = self.done.total
            self._writeback = self._syncer.submit(start_writeback, self.fd)

    def pin(self, identity: Identity) -> None:
        """Note which object the bytes belong to."""
        if identity != self.identity:
            self.identity = identity
            self.note(force=True)

    def finish(self, size: int) -> None:
        """All ``size`` bytes are there: force them to the disk and say so."""
        self._settle(wait=True)
        os.ftruncate(self.fd, size)
        os.fdatasync(self.fd)
        self.done = self.done.clip(size)
        self._synced = Ranges(self.done)
        self.complete = True
        self._write(complete=True)
        self._journal.sync()

    def renew(self) -> None:
        """Begin anew in new files; the old ones are gone."""
        self.discard()
        self._create()

    def discard(self) -> None:
        """Remove the files."""
        try:
            _remove(self._journal_path)
        finally:
            self.close()

    def close(self) -> None:
        """Note what is there and let go of the files, also when that cannot be noted. Closing again does nothing."""
        self._open.close()

    def _note_last(self) -> None:
        self._settle(wait=True)
        if not self.complete:
            self._write(complete=False)

    @property
    def _writing_back(self) -> bool:
        return self._writeback is not None and not self._writeback.done()

    def _settle(self, *, wait: bool) -> None:
        """Take in that data was forced to the disk."""
        if wait and self._writeback is not None:
            self._writeback.exception()
        if self._pending is None or not (wait or self._pending[0].done()):
            return
        future, ranges = self._pending
        self._pending = None
        error = future.exception()
        if error is not None:
            raise StorageFailed("The disk failed to keep what was written.") from error
        self._synced = ranges

    def _write(self, *, complete: bool) -> None:
        self._sequence += 1
        self._noted_at, self._noted_bytes = time.monotonic(), self.done.total
        record = Record(
            sequence=self._sequence,
            owner=self._epoch,
            boot=_BOOT,
            identity=self.identity,
            written=tuple(self.done),
            synced=tuple(self._synced),
            complete=complete,
            pieces=self.pieces,
            early=self.early,
            aside=self.aside,
        )
        self._journal.write(record)

    def _resume(self) -> bool:
        """Take up the newest earlier attempt that has a readable journal which nobody writes; remove the others."""
        found = False
        for journal_path in self._earlier():
            data_path = journal_path.with_suffix(".media")
            journal = None if found or self._is_later(newest(journal_path)) else Journal.take(journal_path)
            if journal is not None and self._usable(journal.record, data_path):
                found = True
                self._journal_path, self.path = journal_path, data_path
                self._take_up(journal)
                continue
            # A file keeps the name of the attempt that began it, whoever took it up: its record says who that was.
            if not self._is_later(newest(journal_path)):
                _remove(journal_path)
            if journal is not None:
                journal.close()  # not before: whoever waits for the lock finds the file gone
        return found

    def _earlier(self) -> list[Path]:
        found: list[tuple[int, Path]] = []
        for path in self._folder.glob(f"{self._key}.*.journal"):
            number = path.name.removeprefix(f"{self._key}.").partition("-")[0]
            if number.isdecimal() and int(number) <= self._epoch:
                found.append((int(number), path))
        return [path for _, path in sorted(found, reverse=True)]

    def _is_later(self, record: Record | None) -> bool:
        return record is not None and record.owner > self._epoch

    def _usable(self, record: Record | None, data_path: Path) -> bool:
        """Whether the record is ours to go on from, and the file holds at least what it claims."""
        if record is None or self._is_later(record) or not data_path.exists():
            return False
        claimed = max((end for _, end in record.held(_BOOT)), default=0)
        return data_path.stat().st_size >= claimed

    def _take_up(self, journal: Journal) -> None:
        record = journal.record
        assert record is not None  # noqa: S101 - _usable has seen it
        self._begin(journal, os.O_RDWR, record.identity, record.held(_BOOT))
        self._synced = Ranges(record.synced)
        self.pieces = record.pieces if self.done.prefix >= record.pieces[1] else (0, 0)
        self.early = tuple(piece for piece in record.early if self.done.holds(piece[1], piece[2]))
        self.aside = record.aside if record.boot == _BOOT else ()
        self._sequence = record.sequence
        self.complete = record.complete
        self._write(complete=record.complete)

    def _create(self) -> None:
        number = 0
        while True:
            self._journal_path = self._folder / f"{self._key}.{self._epoch}-{number}.journal"
            try:
                journal = Journal.create(self._journal_path)
            except FileExistsError:
                number += 1
                continue
            break
        self.path = self._journal_path.with_suffix(".media")
        self._begin(journal, os.O_RDWR | os.O_CREAT | os.O_TRUNC, Identity(), Ranges())
        self._write(complete=False)

    def _begin(self, journal: Journal, flags: int, identity: Identity, done: Ranges) -> None:
        self._open.callback(journal.close)
        self.fd = os.open(self.path, flags | os.O_CLOEXEC, 0o644)
        self._open.callback(os.close, self.fd)
        self._journal = journal
        self.identity = identity
        self.done = done
        self.pieces = (0, 0)
        self.early, self.aside = (), ()
        self.complete = False
        self._synced = Ranges()
        self._sequence = 0
        self._noted_at = self._synced_at = time.monotonic()
        self._noted_bytes = self._started_bytes = done.total
        self._open.callback(self._note_last)


def _remove(journal_path: Path) -> None:
    """Remove an attempt's files, pieces that waited for their turn included."""
    for path in (*journal_path.parent.glob(f"{journal_path.stem}.*.piece"), journal_path.with_suffix(".media")):
        path.unlink(missing_ok=True)
    journal_path.unlink(missing_ok=True)
