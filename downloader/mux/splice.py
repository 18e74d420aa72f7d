"""Splicing: fragmented MP4 tracks become one MP4 by copying their media in large pieces, without looking at packets.

The tables in the fragments say where every sample lies and when it is shown. With them the index is known before the
first byte of media is copied, so it comes first, to the byte, and the file is written once, front to back. FFmpeg's own
copy spends most of its time on packets (Python adds 3 us to each); here the cost is that of reading and writing.
FFmpeg still opens the sources, says which streams they hold and when the first packet is shown, writes tags, chapters
and subtitles, and reads the finished file. Where anything is unusual (Unsuited) it copies as well: see remux.py.
"""

import heapq
import io
import os
import struct
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import accumulate
from operator import add
from pathlib import Path

from downloader.errors import MediaInvalid
from downloader.mux import extras, fragments, index, lanes, sink
from downloader.mux.boxes import Unsuited, box
from downloader.mux.formats import Container
from downloader.mux.fragments import Samples
from downloader.mux.index import Chunk, Frame, Track
from downloader.mux.inputs import track_path
from downloader.mux.languages import three_letters
from downloader.mux.sources import Source
from downloader.mux.task import Task
from downloader.mux.timeline import WHOLE

_STRIDE = 0.5  # seconds of a track between those of the others
# Bytes written at a time, at multiples of as many. The page cache takes as large a folio for it: where those of 1 MiB
# lie ready 1 GB takes 0.3 s, where they must be found first 1.3 s; with these it is 0.43 s in either case.
_PIECE = 1 << 17
_FOUR_GIB = 1 << 32
_ENTRIES = frozenset({b"avc1", b"hvc1", b"av01", b"vp09", b"mp4a"})  # descriptions to take over as they are
_LIMIT = 30 * 86400  # seconds: no media is a month long
_HIDDEN = 1 << 31  # ticks before 0: what an edit list holds


@dataclass(frozen=True, slots=True)
class Parts:
    """The tables of a task's tracks, by the paths of their files, which are open."""

    samples: dict[str, Samples]
    files: dict[str, int]


@contextmanager
def parts(task: Task, container: Container) -> Iterator[Parts]:
    """What is to be spliced for ``task``; raises Unsuited when it is not a matter of splicing."""
    if not container.moov or task.media.cuts:
        raise Unsuited
    kinds = ("audio", "muxed") if container.video == frozenset() else ("audio", "muxed", "video")
    media = [one for one in task.tracks if one.track.kind in kinds]
    with ExitStack() as stack:
        files: dict[str, int] = {}
        for fetched in media:
            files[fetched.path] = os.open(track_path(task.work, fetched), os.O_RDONLY)
            stack.callback(os.close, files[fetched.path])
        yield Parts({path: fragments.read(file) for path, file in files.items()}, files)


def spliced(task: Task, container: Container, sources: Sequence[Source], found: Parts, length: float) -> float:
    """Write the task's file, ``length`` seconds long; when its media ends, in seconds.

    Raises Unsuited, before anything is written, when the sources are not what their tables say.
    """
    tracks = [_track(source, found.samples[source.fetched.path]) for source in sources]
    around = _frame(task, container, sources, length)
    order = list(heapq.merge(*([(c.time, n, c) for c in track.chunks] for n, track in enumerate(tracks))))
    places: list[list[int]] = [[] for _ in tracks]
    at = 0
    for _, number, chunk in order:
        places[number].append(at)
        at += chunk.length
    files = [found.files[source.fetched.path] for source in sources]
    pieces = ((chunk.time, files[number], chunk.offset, chunk.length) for _, number, chunk in order)
    _write(task.path, _head(around, tracks, places, at), pieces, lambda done: task.advance(min(done, length), length))
    return max(track.end / track.samples.timescale for track in tracks)


def _track(source: Source, samples: Samples) -> Track:
    """The source's track, placed on the output's timeline by its first packet, which must be the first sample."""
    if len(source.container.streams) != 1:
        raise Unsuited
    stream = source.streams[0]
    kind = b"vide" if stream.type == "video" else b"soun"
    entry, reference = samples.stsd[12:16], samples.stsd[22:24]  # ISO/IEC 14496-12, 8.5.2.2: SampleEntry
    packet = next(source.container.demux(stream), None)
    if packet is None or packet.pts is None or packet.dts is None:
        raise Unsuited
    if (packet.pos, packet.size) != (samples.runs[0][0], samples.sizes[0]):
        raise Unsuited
    base = round(source.base * samples.timescale)
    raised = round(source.raised * samples.timescale)
    if packet.pts - packet.dts - raised != samples.shifts[0] - samples.raised:
        raise Unsuited
    if samples.handler != kind or entry not in _ENTRIES or reference != b"\0\1":
        raise Unsuited
    if stream.time_base.denominator != samples.timescale:
        raise Unsuited
    if source.jumps and max(samples.deltas) >= lanes.JUMP_AHEAD * samples.timescale:
        raise Unsuited
    times = array("q", accumulate(samples.deltas, initial=0))
    begin = packet.pts - base - samples.shifts[0]
    end = begin + max(map(add, times[1:], samples.shifts))
    if begin <= -_HIDDEN or not 0 < end < _LIMIT * samples.timescale:
        raise Unsuited
    chunks = list(_chunks(samples, times, begin))
    return Track(samples, chunks, begin, end, three_letters(source.fetched.track.language))


def _chunks(samples: Samples, times: "array[int]", begin: int) -> Iterator[Chunk]:
    stride = max(round(_STRIDE * samples.timescale), 1)
    reach = array("q", accumulate(samples.sizes, initial=0))
    at = 0
    for offset, count in samples.runs:
        first, end = at, at + count
        while at < end:
            until = min(max(bisect_left(times, times[at] + stride, at, end), at + 1), end)
            place = offset + reach[at] - reach[first]
            yield Chunk((begin + times[at]) / samples.timescale, place, reach[until] - reach[at], until - at)
            at = until


def _frame(task: Task, container: Container, sources: Sequence[Source], length: float) -> Frame:
    """All of the file but picture and sound, by FFmpeg, in memory."""
    file = io.BytesIO()
    with sink.created(file, container, task.media) as output:
        for source in sources:
            sink.add_copy(output, source.streams[0], container)
        subtitles, first = extras.attach(output, container, task.along, WHOLE, length)
        write = sink.writer(output)
        for packet in first:
            write(packet)
        lanes.copy(subtitles, write, lambda _: None)
        output.start_encoding()
    return index.frame(file.getvalue())


def _head(around: Frame, tracks: Sequence[Track], places: Sequence[Sequence[int]], size: int) -> bytes:
    """All that comes before the media of picture and sound, of ``size`` bytes."""
    ftyp = box(b"ftyp", around.ftyp)
    wide = size > _FOUR_GIB // 2  # leaves room for the longest index
    header = 16 if wide else 8
    length = len(index.built(around, tracks, places, 0, wide=wide))
    moov = index.built(around, tracks, places, len(ftyp) + length + header, wide=wide)
    mdat = header + len(around.media) + size
    large = struct.pack(">I4sQ", 1, b"mdat", mdat) if wide else struct.pack(">I4s", mdat, b"mdat")
    return b"".join((ftyp, moov, large, around.media))


def _write(
    path: Path, head: bytes, pieces: Iterator[tuple[float, int, int, int]], advance: Callable[[float], None]
) -> None:
    """Write ``head`` and then each piece (seconds, file, offset, length); reads and writes are large."""
    buffer = memoryview(bytearray(_PIECE))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        whole = len(head) // _PIECE * _PIECE
        _put(descriptor, memoryview(head)[:whole])
        held = len(head) - whole
        buffer[:held] = head[whole:]
        for time, file, offset, length in pieces:
            at, left = offset, length
            while left:
                count = os.preadv(file, [buffer[held : held + left]], at)
                if not count:
                    raise MediaInvalid("A track became shorter while it was read.")
                at, left, held = at + count, left - count, held + count
                if held == _PIECE:
                    _put(descriptor, buffer)
                    held = 0
                    advance(time)
        _put(descriptor, buffer[:held])
    finally:
        os.close(descriptor)


def _put(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
