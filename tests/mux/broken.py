"""Media with faults: boxes rewritten, packets muxed with times that make no sense."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import av

CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"stbl", b"moof", b"traf", b"mvex")


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Every box, also inside others: (type, start, size)."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        if size < 8 or start + size > end:
            return
        yield kind, start, size
        if kind in CONTAINERS:
            yield from boxes(data, start + 8, start + size)
        start += size


def box(data: bytes, kind: bytes) -> tuple[int, int]:
    """Start and size of the first box of ``kind``."""
    return next((start, size) for found, start, size in boxes(data) if found == kind)


def patched(path: Path, at: int, new: bytes) -> Path:
    data = bytearray(path.read_bytes())
    data[at : at + len(new)] = new
    path.write_bytes(data)
    return path


def retimed(source: Path, path: Path, muxer: str, later: Callable[[int], int]) -> Path:
    """The first stream of ``source``, packet ``number`` moved by ``later(number)`` ticks."""
    with av.open(str(source)) as old, av.open(str(path), "w", format=muxer) as new:
        stream = old.streams[0]
        target = new.add_stream_from_template(stream, opaque=True)
        for number, packet in enumerate(packet for packet in old.demux(stream) if packet.size):
            packet.pts, packet.dts = packet.pts + later(number), packet.dts + later(number)
            packet.stream = target
            new.mux_one(packet)
    return path


def aliased(source: Path, path: Path, sibling: str) -> Path:
    """``source`` (its index after its media) without its media, which it says to be in ``sibling`` (an alias record).

    Read with data references enabled, FFmpeg takes every sample from there.
    """
    data = source.read_bytes()
    target = f"/{sibling}".encode()
    record = bytes(10) + b"\0" + bytes(27) + bytes(12) + bytes([len(sibling)]) + sibling.encode().ljust(63, b"\0")
    record += bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)  # one folder up from here, one down to there
    record += struct.pack(">HH", 2, len(target)) + target + bytes(len(target) % 2) + struct.pack(">HH", 0xFFFF, 0)
    entry = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    start, size = box(data, b"dref")
    made = bytearray(
        data[:start] + struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry + data[start + size :]
    )
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        at, length = box(data, kind)
        made[at : at + 4] = struct.pack(">I", length + 16 + len(entry) - size)
    at, length = box(data, b"mdat")
    made[at + 8 : at + length] = bytes(length - 8)
    path.write_bytes(made)
    return path
