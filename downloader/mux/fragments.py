"""A fragmented MP4 file of one track, as media hosts serve picture and sound: where its samples lie and when they are.

Only what is wholly understood is taken (Unsuited says so, and FFmpeg then reads the file): one track, one description
of its samples, no encryption, decoding times in every fragment (tfdt) that do not go back, and no sample that is empty
or lasts no time. Tables are read many samples at a time, as arrays.
"""

import os
import struct
from array import array
from dataclasses import dataclass, field

from downloader.mux.boxes import Unsuited, every, in_file, inside, number, numbers, only, swapped, timescale

_MOST = 1 << 23  # samples: 38 hours at 60 pictures a second, and 250 MB of tables
_MOST_RUNS = 1 << 16  # more would take longer to read (34 us each) than FFmpeg takes to copy them
_MOST_INDEX = 16 << 20  # bytes of a moov or moof
_MOST_RAISED = 10  # seconds that a sample may be shown before it is decoded
_SIGNED = 1 << 31
_NO_SYNC = 0x01010000  # sample_is_non_sync_sample, or sample_depends_on says that it depends on others
_BASE_GIVEN, _DESCRIPTION, _DURATION, _SIZE, _FLAGS, _EMPTY, _BASE_IS_MOOF = 0x1, 0x2, 0x8, 0x10, 0x20, 0x10000, 0x20000
_OFFSET, _FIRST_FLAGS = 0x1, 0x4
_PER_SAMPLE = (0x100, 0x200, 0x400, 0x800)  # duration, size, flags, composition offset


@dataclass(slots=True)
class Samples:
    """The samples of a track in decoding order, times in ticks of ``timescale`` (a second).

    ``sizes`` in bytes; ``deltas`` from one decoding time to the next; ``shifts`` from decoding to presentation, none
    below 0: where the file shows a sample before it decodes it, all are ``raised`` by as much. ``syncs`` numbers (from
    1) the samples that decoding may begin with; ``runs`` are (offset in the file, number of samples) of samples that
    lie together. ``tkhd`` and ``stsd`` are the contents of the boxes that describe the track.
    """

    timescale: int
    handler: bytes
    tkhd: bytes
    stsd: bytes
    sizes: "array[int]" = field(default_factory=lambda: array("I"))
    deltas: "array[int]" = field(default_factory=lambda: array("I"))
    shifts: "array[int]" = field(default_factory=lambda: array("i"))
    syncs: list[int] = field(default_factory=list)
    runs: list[tuple[int, int]] = field(default_factory=list)
    raised: int = 0
    clock: int = 0  # the decoding time after the last sample


def read(descriptor: int) -> Samples:
    """What the open file holds; raises Unsuited for all but a whole fragmented file of one track."""
    size = os.fstat(descriptor).st_size
    reader: _Reader | None = None
    for box in in_file(descriptor, size):
        if box.kind not in (b"moov", b"moof"):
            continue
        if box.end - box.start > _MOST_INDEX:
            raise Unsuited
        data = os.pread(descriptor, box.end - box.start, box.start)
        if box.kind == b"moov":
            if reader is not None:
                raise Unsuited
            reader = _Reader(data, size)
        elif reader is None:
            raise Unsuited
        else:
            reader.moof(data, box.at)
    if reader is None or not reader.samples.sizes:
        raise Unsuited
    return _raised(reader.samples)


class _Reader:
    """Reads the fragments of one track; ``moov`` is the contents of the file's moov."""

    def __init__(self, moov: bytes, file_size: int) -> None:
        trak, trex = only(moov, b"trak"), only(moov, b"mvex", b"trex")
        stbl = only(trak, b"mdia", b"minf", b"stbl")
        hdlr, tkhd = only(trak, b"mdia", b"hdlr"), only(trak, b"tkhd")
        sizes, stsd, ticks = only(stbl, b"stsz"), only(stbl, b"stsd"), timescale(trak)
        if not ticks or number(sizes, 8) or number(stsd, 4) != 1:
            raise Unsuited  # samples outside of fragments, or several descriptions
        self.samples = Samples(ticks, hdlr[8:12], tkhd, stsd)
        self._track, self._description, *self._defaults = numbers(trex, 4, 5)
        self._file_size = file_size

    def moof(self, data: bytes, at: int) -> None:
        """Add the samples of a moof that begins at ``at`` of the file."""
        traf = only(data, b"traf")
        kinds = {box.kind for box in inside(traf)}
        if kinds & {b"senc", b"saiz", b"saio"}:
            raise Unsuited
        tfhd, tfdt = only(traf, b"tfhd"), only(traf, b"tfdt")
        flags, track = numbers(tfhd, 0, 2)
        base, place, description, defaults = at, 8, self._description, list(self._defaults)
        if flags & _BASE_GIVEN:
            base, place = numbers(tfhd, place, 1, wide=True)[0], place + 8
        if flags & _DESCRIPTION:
            description, place = number(tfhd, place), place + 4
        for which, flag in enumerate((_DURATION, _SIZE, _FLAGS)):
            if flags & flag:
                defaults[which], place = number(tfhd, place), place + 4
        if track != self._track or description != 1 or flags & _EMPTY:
            raise Unsuited
        self._goes_on(numbers(tfdt, 4, 1, wide=tfdt[:1] == b"\1")[0])
        end: int | None = None
        for trun in every(traf, b"trun"):
            end = self._trun(trun, base, end, defaults)

    def _goes_on(self, time: int) -> None:
        """A fragment begins at ``time``: what the last sample lasts is what brings the clock there."""
        samples = self.samples
        if not samples.deltas:
            samples.clock = time
            return
        last = samples.deltas[-1] + time - samples.clock
        if not 0 < last < _SIGNED:
            raise Unsuited
        samples.deltas[-1], samples.clock = last, time

    def _trun(self, trun: bytes, base: int, end: int | None, defaults: list[int]) -> int:
        """Add a run's samples; where their bytes end. Without an offset it begins at ``end`` of the one before."""
        flags, count = numbers(trun, 0, 2)
        at, samples = 8, self.samples
        if flags & _OFFSET:
            offset = struct.unpack_from(">i", trun, at)[0] if len(trun) >= at + 4 else -1
            start, at = base + offset, at + 4
        elif end is None:
            raise Unsuited
        else:
            start = end
        first = number(trun, at) if flags & _FIRST_FLAGS else None
        at += 4 * (first is not None)
        if not count:
            return start
        if len(samples.sizes) + count > _MOST or len(samples.runs) >= _MOST_RUNS:
            raise Unsuited
        width = sum(1 for flag in _PER_SAMPLE if flags & flag)
        if len(trun) < at + 4 * width * count:
            raise Unsuited
        table = swapped(array("I", trun[at : at + 4 * width * count]))
        columns = iter(range(width))
        durations, sizes, marks, shifts = (
            table[next(columns) :: width] if flags & flag else array("I", [default]) * count
            for flag, default in zip(_PER_SAMPLE, (*defaults, 0), strict=True)
        )
        shifts = _signed(shifts, version=trun[0])
        if first is not None:
            marks[0] = first
        length = sum(sizes)
        if not 0 <= start <= start + length <= self._file_size or max(durations) >= _SIGNED:
            raise Unsuited
        if not min(sizes) or not min(durations) or min(shifts) < -_MOST_RAISED * samples.timescale:
            raise Unsuited
        if samples.handler == b"vide":  # every sample of sound is one
            samples.syncs.extend(n for n, mark in enumerate(marks, len(samples.sizes) + 1) if not mark & _NO_SYNC)
        samples.sizes += sizes
        samples.deltas += durations
        samples.shifts += shifts
        samples.runs.append((start, count))
        samples.clock += sum(durations)
        return start + length


def _raised(samples: Samples) -> Samples:
    """The samples with no shift below 0."""
    samples.raised = max(-min(samples.shifts), 0)
    if max(samples.shifts) + samples.raised >= _SIGNED:
        raise Unsuited
    if samples.raised:
        samples.shifts = array("i", [shift + samples.raised for shift in samples.shifts])
    return samples


def _signed(shifts: "array[int]", *, version: int) -> "array[int]":
    """Composition offsets, which from ``version`` 1 of their box on may be negative (ISO/IEC 14496-12, 8.8.8)."""
    if not version and max(shifts) >= _SIGNED:
        raise Unsuited
    return array("i", shifts.tobytes())
