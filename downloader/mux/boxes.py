"""Boxes of ISO/IEC 14496-12: found in a file or in a box, checked against what holds them, and put together."""

import os
import struct
import sys
from array import array
from collections.abc import Iterator
from typing import NamedTuple

_HEAD, _LARGE_HEAD = 8, 16
_TO_THE_END, _LARGE = 0, 1  # sizes with a meaning of their own


class Unsuited(Exception):
    """This is not laid out as the caller can take it; another way may do."""


class Box(NamedTuple):
    """A box of type ``kind`` that begins at ``at``; its contents lie from ``start`` to before ``end``."""

    kind: bytes
    at: int
    start: int
    end: int


def in_file(descriptor: int, size: int) -> Iterator[Box]:
    """The boxes of a file of ``size`` bytes; raises Unsuited where one does not fit into it."""
    at = 0
    while at < size:
        found = _box(os.pread(descriptor, _LARGE_HEAD, at), at, size)
        yield found
        at = found.end


def inside(data: bytes, start: int = 0) -> Iterator[Box]:
    """The boxes in ``data`` from ``start`` on; raises Unsuited where one does not fit into it."""
    while start < len(data):
        found = _box(data[start : start + _LARGE_HEAD], start, len(data))
        yield found
        start = found.end


def every(data: bytes, kind: bytes) -> list[bytes]:
    """The contents of each box of ``kind`` in ``data``."""
    return [data[box.start : box.end] for box in inside(data) if box.kind == kind]


def only(data: bytes, *path: bytes) -> bytes:
    """The contents of the one box at ``path``; raises Unsuited where there are none or several."""
    for kind in path:
        found = every(data, kind)
        if len(found) != 1:
            raise Unsuited
        data = found[0]
    return data


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box of these contents."""
    contents = b"".join(parts)
    return struct.pack(">I4s", _HEAD + len(contents), kind) + contents


def full(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    """A box that begins with a version and flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def numbers(data: bytes, at: int, count: int, *, wide: bool = False) -> tuple[int, ...]:
    """``count`` numbers of 32 bits (``wide``: 64) from ``at`` on; raises Unsuited where there are fewer."""
    if len(data) < at + count * (8 if wide else 4):
        raise Unsuited
    return struct.unpack_from(f">{count}{'Q' if wide else 'I'}", data, at)


def number(data: bytes, at: int) -> int:
    """See numbers."""
    return numbers(data, at, 1)[0]


def track_number(trak: bytes) -> int:
    """The number (track_ID) of a trak with these contents."""
    tkhd = only(trak, b"tkhd")
    return number(tkhd, 20 if tkhd[:1] == b"\1" else 12)


def timescale(trak: bytes) -> int:
    """Ticks a second of the media in a trak with these contents."""
    mdhd = only(trak, b"mdia", b"mdhd")
    return number(mdhd, 20 if mdhd[:1] == b"\1" else 12)


def swapped(values: "array[int]") -> "array[int]":
    """``values`` from the machine's order of bytes to that of boxes (big-endian), or back."""
    if sys.byteorder == "big":
        return values
    other = array(values.typecode, values)
    other.byteswap()
    return other


def _box(head: bytes, at: int, limit: int) -> Box:
    if len(head) < _HEAD:
        raise Unsuited
    size, kind = struct.unpack_from(">I4s", head)
    start = at + _HEAD
    if size == _LARGE and len(head) == _LARGE_HEAD:
        size, start = struct.unpack_from(">Q", head, _HEAD)[0], at + _LARGE_HEAD
    end = limit if size == _TO_THE_END else at + size
    if not start <= end <= limit:
        raise Unsuited
    return Box(kind, at, start, end)
