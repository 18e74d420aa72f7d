"""Where each media segment of a file lies, as the index in its own initialization says. Pure: no I/O.

DASH files carry one: a Segment Index box in MP4 (ISO/IEC 14496-12, 8.16.3), Cues in WebM (RFC 9559, 5.1.5). It is a
stranger's word: whoever uses it compares it with what comes.
"""

import struct
from collections.abc import Iterator
from itertools import accumulate, pairwise

_BOX = struct.Struct(">I4s")
_LARGE = struct.Struct(">Q")
_REFERENCE = struct.Struct(">III")
_EBML, _SEGMENT, _CUES, _CUE, _POSITIONS, _CLUSTER_AT = 0x1A45DFA3, 0x18538067, 0x1C53BB6B, 0xBB, 0xB7, 0xF1


def segment_edges(initialization: bytes) -> tuple[int, ...] | None:
    """The offset of each segment in the file and, last, the file's size: n segments have n + 1 edges.

    None when there is no index, or one that does not begin right behind the initialization or does not rise.
    """
    try:
        edges = _cues(initialization) if initialization.startswith(b"\x1a\x45\xdf\xa3") else _sidx(initialization)
    except (struct.error, IndexError, ValueError):
        return None
    if edges is None or len(edges) < 2 or edges[0] != len(initialization):  # noqa: PLR2004 - a segment has two edges
        return None
    return edges if all(start < end for start, end in pairwise(edges)) else None


def _sidx(data: bytes) -> tuple[int, ...] | None:
    found: list[tuple[int, ...]] = []
    at = 0
    while at < len(data):
        size, kind = _BOX.unpack_from(data, at)
        body = at + _BOX.size
        if size == 1:
            (size,) = _LARGE.unpack_from(data, body)
            body += _LARGE.size
        if size < body - at or at + size > len(data):
            return None
        if kind == b"sidx":
            found.append(_references(data[body : at + size], at + size))
        at += size
    return found[0] if len(found) == 1 else None


def _references(body: bytes, anchor: int) -> tuple[int, ...]:
    """The edges that a Segment Index box names; offsets count from ``anchor``, the byte behind it."""
    first_at = 16 if body[0] == 0 else 20  # behind version, flags, reference id, timescale, earliest time
    (first,) = struct.unpack_from(">I" if body[0] == 0 else ">Q", body, first_at)
    (count,) = struct.unpack_from(">H", body, 22 if body[0] == 0 else 30)
    table = 24 if body[0] == 0 else 32
    words = [_REFERENCE.unpack_from(body, table + 12 * number)[0] for number in range(count)]
    if any(word >> 31 for word in words):
        raise ValueError("it refers to further indexes")
    return tuple(accumulate(words, initial=anchor + first))


def _cues(data: bytes) -> tuple[int, ...] | None:
    start, size = _first(data, 0, _SEGMENT)
    cues, length = _first(data, start, _CUES)
    found = [
        start + int.from_bytes(body) for body in _bodies(data, cues, cues + length, (_CUE, _POSITIONS, _CLUSTER_AT))
    ]
    return (*dict.fromkeys(found), start + size)


def _first(data: bytes, at: int, wanted: int) -> tuple[int, int]:
    """Where the body of the first ``wanted`` element behind ``at`` begins, and its size."""
    for kind, start, size in _elements(data, at, len(data)):
        if kind == wanted and size is not None:
            return start, size
    raise ValueError("it has no such element")


def _bodies(data: bytes, at: int, end: int, path: tuple[int, ...]) -> Iterator[bytes]:
    """The body of every element in ``[at, end)`` that is reached by ``path``."""
    for kind, start, size in _elements(data, at, end):
        if kind == path[0] and len(path) == 1:
            yield data[start : start + (size or 0)]
        elif kind == path[0]:
            yield from _bodies(data, start, start + (size or 0), path[1:])


def _elements(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int | None]]:
    """The EBML elements in ``[at, end)``: identifier, where the body begins, its size (None: unknown). RFC 8794."""
    while at < end:
        length = 9 - data[at].bit_length()
        kind = int.from_bytes(data[at : at + length])
        at += length
        width = 9 - data[at].bit_length()
        value = int.from_bytes(data[at : at + width]) & ((1 << 7 * width) - 1)
        at += width
        size = None if value == (1 << 7 * width) - 1 else value
        yield kind, at, size
        if size is None:
            return
        at += size
