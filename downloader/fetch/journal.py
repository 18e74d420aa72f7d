"""What of a track is on disk, said crash-safely beside the file, and who may write it.

The journal has two slots of fixed size, written in turn; each holds one whole record with a sequence number and a
checksum. A torn write spoils one slot and leaves the other, so reading takes the newer one that is whole.

A record makes two claims. ``synced`` ranges were forced to the disk before the record was written: they hold for
good. ``written`` ranges were handed to the kernel: they hold while the same kernel runs, so they survive the death of
a process but not of the machine; a record from another boot, or another machine of a shared volume, is read without.

Whoever writes a track holds an exclusive lock on its journal. A process that was paused past its lease still holds
it; the next attempt then leaves both files alone and begins in files of its own.
"""

import fcntl
import os
import zlib
from pathlib import Path

import msgspec

from downloader.fetch.identity import Identity
from downloader.fetch.ranges import Ranges

_SLOT = 64 << 10
_MAGIC = b"TTDJ1"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Record(msgspec.Struct, frozen=True):
    """One claim.

    ``owner`` is the epoch that wrote it; ``pieces`` is how many pieces of a sequence are whole, and their bytes.
    Pieces that came before their turn: ``early`` ones are in their place (number, start, end), those ``aside`` in files
    of their own (number, size), which are never forced to the disk.
    """

    sequence: int
    owner: int
    boot: str
    identity: Identity
    written: tuple[tuple[int, int], ...] = ()
    synced: tuple[tuple[int, int], ...] = ()
    complete: bool = False
    pieces: tuple[int, int] = (0, 0)
    early: tuple[tuple[int, int, int], ...] = ()
    aside: tuple[tuple[int, int], ...] = ()

    def held(self, boot: str) -> Ranges:
        """What is on disk for a reader that runs under ``boot``."""
        return Ranges(self.written if boot and boot == self.boot else self.synced)


def boot_id() -> str:
    """A name for this run of this machine's kernel; empty when there is none to be had."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


class Journal:
    """An open journal, locked for this process until it is closed."""

    def __init__(self, fd: int, record: Record | None) -> None:
        self._fd = fd
        self.record = record

    @classmethod
    def create(cls, path: Path) -> "Journal":
        """A new journal; raises FileExistsError when the name is taken."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise FileExistsError(path) from None
        return cls(fd, None)

    @classmethod
    def take(cls, path: Path) -> "Journal | None":
        """The journal at ``path``, locked; None when it is gone or another process writes it."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return None
        return cls(fd, _newest(fd))

    def write(self, record: Record) -> None:
        """Make ``record`` the newest. What it claims as synced must have been forced to the disk before."""
        body = msgspec.json.encode(record)
        if len(body) + 32 > _SLOT:
            # Too torn up to be worth noting: the longest ranges are what saves most.
            body = msgspec.json.encode(_abridged(record))
        frame = b"%s %08x %08x " % (_MAGIC, len(body), zlib.crc32(body)) + body
        os.pwrite(self._fd, frame, record.sequence % 2 * _SLOT)
        self.record = record

    def sync(self) -> None:
        """Force the journal itself to the disk."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._fd)


def newest(path: Path) -> Record | None:
    """The newest record of the journal at ``path``, whoever writes it; None when there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return _newest(fd)
    finally:
        os.close(fd)


def _newest(fd: int) -> Record | None:
    records = [record for slot in (0, 1) if (record := _decode(os.pread(fd, _SLOT, slot * _SLOT))) is not None]
    return max(records, key=lambda record: record.sequence, default=None)


def _decode(slot: bytes) -> Record | None:
    fields = slot.split(b" ", 3)
    if len(fields) != 4 or fields[0] != _MAGIC:  # noqa: PLR2004 - magic, length, checksum, body
        return None
    try:
        body = fields[3][: int(fields[1], 16)]
        if len(body) != int(fields[1], 16) or zlib.crc32(body) != int(fields[2], 16):
            return None
        return msgspec.json.decode(body, type=Record)
    except (ValueError, msgspec.MsgspecError):
        return None


def _abridged(record: Record, keep: int = 1000) -> Record:
    def longest(pairs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        return tuple(sorted(sorted(pairs, key=lambda pair: pair[0] - pair[1])[:keep]))

    return msgspec.structs.replace(record, written=longest(record.written), synced=longest(record.synced))
