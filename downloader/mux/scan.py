"""What FFmpeg keeps to itself about an MP4 file: that no copy of it can be right, and where its clocks begin.

Its demuxer copies encrypted samples as if they were media, and reads on with the first moov where a second one follows
(HLS with another EXT-X-MAP, RFC 8216, section 4.3.2.5). It takes the end of a fragmented track for its length, wherever
the first fragment begins, and shows pictures later whose composition offsets are negative (CMAF, ISO/IEC 23000-19).
"""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from downloader.errors import MediaInvalid
from downloader.mux.boxes import Unsuited, every, in_file, inside, number, numbers, only, timescale, track_number

_MOST = 64 << 20  # bytes of a moov or moof that is looked at
_ENCRYPTED = frozenset({b"encv", b"enca"})  # ISO/IEC 23001-7, 4.2
_DESCRIPTION, _BASE_GIVEN = 0x2, 0x1
_OFFSET, _FIRST_FLAGS, _SHIFT = 0x1, 0x4, 0x800
_BEFORE_SHIFT = (0x100, 0x200, 0x400)  # duration, size, flags


@dataclass(frozen=True, slots=True)
class Begin:
    """Where a fragmented track begins on its own clock, in seconds.

    ``length_from`` is what its length as FFmpeg has it counts too much. ``shown`` is when its first sample is shown;
    None where FFmpeg says so itself.
    """

    length_from: float
    shown: float | None


@dataclass(frozen=True, slots=True)
class _Trak:
    """How a track's samples are to be read; ``edit``: seconds from the clock of its fragments to what is shown."""

    ticks: int
    stsd: bytes
    defaults: bytes
    edit: float = field(compare=False)


def scanned(path: Path) -> dict[int, Begin]:
    """The beginnings of a fragmented file's tracks, by their numbers; empty for other files.

    Raises MediaInvalid for media that is encrypted or changes its format midway.
    """
    begins: dict[int, Begin] = {}
    tracks: dict[int, _Trak] = {}
    first = True
    indexed: dict[int, float] = {}
    with path.open("rb") as file, suppress(Unsuited):  # where a box makes no sense, FFmpeg decides
        for found in in_file(file.fileno(), os.fstat(file.fileno()).st_size):
            if found.kind not in (b"moov", b"sidx", b"moof") or found.end - found.start > _MOST:
                continue
            if found.kind != b"moov" and begins.keys() == tracks.keys() and not _several(tracks):
                continue
            data = os.pread(file.fileno(), found.end - found.start, found.start)
            if found.kind == b"sidx":
                _note(indexed, data)
            elif found.kind == b"moof":
                for traf in every(data, b"traf"):
                    _add(begins, tracks, traf, indexed)
            elif first:
                first, tracks = False, _tracks(data)
            elif _tracks(data) != tracks:
                raise MediaInvalid("The media changes its format midway: one file cannot hold it.")
    return begins


def _tracks(moov: bytes) -> dict[int, _Trak]:
    found: dict[int, _Trak] = {}
    mvhd = only(moov, b"mvhd")
    movie = number(mvhd, 20 if mvhd[:1] == b"\1" else 12)
    defaults = {number(trex, 4): trex for mvex in every(moov, b"mvex") for trex in every(mvex, b"trex")}
    for trak in every(moov, b"trak"):
        with suppress(Unsuited):
            stsd = only(trak, b"mdia", b"minf", b"stbl", b"stsd")
            if any(entry.kind in _ENCRYPTED for entry in inside(stsd, 8)):
                raise MediaInvalid("The media is encrypted.")
            ticks, which = timescale(trak), track_number(trak)
            if ticks and movie:
                found[which] = _Trak(ticks, stsd, defaults.get(which, b""), _edit(trak, ticks, movie))
    return found


def _edit(trak: bytes, ticks: int, movie: int) -> float:
    """What an edit list adds to the times of its media, in seconds: a pause before, or less what it leaves out."""
    pause = 0.0
    for elst in (lists for edts in every(trak, b"edts") for lists in every(edts, b"elst")):
        wide = elst[:1] == b"\1"
        never = (1 << (64 if wide else 32)) - 1
        for entry in range(number(elst, 4)):
            length, begin = numbers(elst, 8 + entry * (20 if wide else 12), 2, wide=wide)
            if begin != never:
                return pause - begin / ticks
            pause += length / movie
    return pause


def _several(tracks: dict[int, _Trak]) -> bool:
    return any(number(track.stsd, 4) > 1 for track in tracks.values())


def _note(indexed: dict[int, float], sidx: bytes) -> None:
    """Note when the first fragment of an index (sidx) is shown, which is what FFmpeg counts from."""
    which, ticks = numbers(sidx, 4, 2)
    if ticks:
        indexed.setdefault(which, numbers(sidx, 12, 1, wide=sidx[:1] == b"\1")[0] / ticks)


def _add(begins: dict[int, Begin], tracks: dict[int, _Trak], traf: bytes, indexed: dict[int, float]) -> None:
    """Note where the track of a traf begins, if this is its first."""
    tfhd = only(traf, b"tfhd")
    flags, which = numbers(tfhd, 0, 2)
    track = tracks.get(which)
    if track is None:
        return
    described = number(tfhd, 16 if flags & _BASE_GIVEN else 8) if flags & _DESCRIPTION else 1
    if described > 1:  # FFmpeg reads the samples, and describes them by the first
        raise MediaInvalid("The media changes its format midway: one file cannot hold it.")
    if which in begins:
        return
    tfdt = only(traf, b"tfdt")
    time = numbers(tfdt, 4, 1, wide=tfdt[:1] == b"\1")[0]
    shift = next((_first_shift(trun) for trun in every(traf, b"trun")), None)
    shown = None if shift is None else (time + shift) / track.ticks + track.edit
    begins[which] = Begin(indexed.get(which, time / track.ticks), shown)


def _first_shift(trun: bytes) -> int | None:
    """The first composition offset of a run, 0 without; None where offsets are unsigned, or the run has no samples."""
    flags, count = numbers(trun, 0, 2)
    if not count or (flags & _SHIFT and trun[:1] == b"\0"):
        return None
    before = sum(1 for flag in (_OFFSET, _FIRST_FLAGS, *_BEFORE_SHIFT) if flags & flag)
    shift = number(trun, 8 + 4 * before) if flags & _SHIFT else 0
    return shift - (shift >> 31 << 32)
