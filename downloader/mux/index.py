"""The index (moov) of an MP4 file whose media is known to the byte: sample tables made of arrays, in one go.

What is not a track of picture or sound (tags, cover, chapters, subtitles) comes from a ``Frame``: a small file without
media that FFmpeg wrote, whose boxes are taken over as they are. Sizes and fields are those of ISO/IEC 14496-12.
"""

import struct
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from downloader.mux.boxes import Unsuited, box, every, full, inside, only, swapped, track_number
from downloader.mux.fragments import Samples

MOVIE_TICKS = 1000
"""Ticks a second of the movie's own clock, as FFmpeg has it."""

_ENABLED_IN_MOVIE = 3
_SELF_CONTAINED = 1
_CONTAINERS = (b"trak", b"mdia", b"minf", b"stbl")
_WIDE = 1 << 32


@dataclass(frozen=True, slots=True)
class Chunk:
    """Samples that lie together: ``length`` bytes from ``offset`` of the track's file. ``time``: seconds of output."""

    time: float
    offset: int
    length: int
    samples: int


@dataclass(frozen=True, slots=True)
class Track:
    """A track to index: its ``chunks`` in order, its language as ISO 639-2 has it.

    ``begin`` is the first decoding time and ``end`` the last moment shown, in ticks of output. Before 0 lies what is
    decoded but not shown; a track that begins later shows nothing before.
    """

    samples: Samples
    chunks: Sequence[Chunk]
    begin: int
    end: int
    language: str


@dataclass(frozen=True, slots=True)
class Frame:
    """What FFmpeg makes of a file's streams, tags, chapters and subtitles, without picture and sound.

    ``media`` are the bytes of the subtitles and chapters, which lay at ``offset``; ``tracks`` the contents of their
    boxes, ``chapters`` the number of the track of chapters.
    """

    ftyp: bytes
    mvhd: bytes
    udta: bytes
    tracks: tuple[bytes, ...]
    media: bytes
    offset: int
    chapters: int | None


def frame(data: bytes) -> Frame:
    """The frame in a file that FFmpeg wrote; raises Unsuited when it is not as expected."""
    found = {one.kind: one for one in inside(data)}
    moov = only(data, b"moov")
    tracks = tuple(every(moov, b"trak"))
    texts = [track for track in tracks if only(track, b"mdia", b"hdlr")[8:12] == b"text"]
    mdat = found[b"mdat"]
    return Frame(
        ftyp=only(data, b"ftyp"),
        mvhd=only(moov, b"mvhd"),
        udta=b"".join(every(moov, b"udta")),
        tracks=tracks,
        media=data[mdat.start : mdat.end],
        offset=mdat.start,
        chapters=track_number(texts[0]) if texts else None,
    )


def built(around: Frame, tracks: Sequence[Track], places: Sequence[Sequence[int]], base: int, *, wide: bool) -> bytes:
    """The moov of a file whose media begins at ``base``: first that of the frame, then the chunks at ``places``.

    ``places`` are counted from the end of the frame's media, a list for each track. ``wide``: offsets beyond 4 GiB.
    """
    length = max(_longest(around), *(_movie_ticks(track, track.end) for track in tracks))
    first = base + len(around.media)
    own = [
        _trak(number, track, [first + place for place in where], around.chapters, wide=wide)
        for number, (track, where) in enumerate(zip(tracks, places, strict=True), 1)
    ]
    others = [box(b"trak", _moved(track, base - around.offset)) for track in around.tracks]
    numbers = [*range(1, len(own) + 1), *map(track_number, around.tracks)]
    if len(set(numbers)) != len(numbers):
        raise Unsuited
    mvhd = around.mvhd[:16] + struct.pack(">I", length) + around.mvhd[20:-4] + struct.pack(">I", max(numbers) + 1)
    udta = box(b"udta", around.udta) if around.udta else b""
    return box(b"moov", box(b"mvhd", mvhd), *own, *others, udta)


def _trak(number: int, track: Track, offsets: list[int], chapters: int | None, *, wide: bool) -> bytes:
    samples = track.samples
    first = max(track.begin + samples.shifts[0], 0)
    late, length = _movie_ticks(track, first), _movie_ticks(track, track.end - first)
    edits = [(late, -1), (length, samples.shifts[0])] if late else [(length, -track.begin)]
    return box(
        b"trak",
        _tkhd(samples.tkhd, number, late + length),
        box(b"edts", _elst(edits)),
        box(b"tref", box(b"chap", struct.pack(">I", chapters))) if chapters else b"",
        box(b"mdia", _mdhd(track), _hdlr(samples.handler), _minf(track, offsets, wide=wide)),
    )


def _tkhd(source: bytes, number: int, length: int) -> bytes:
    """The source's own header (picture size, rotation, volume) with another number and length."""
    kept = source[36:] if source[:1] == b"\1" else source[24:]
    if len(kept) != 60:  # noqa: PLR2004 - from the layer to the height
        raise Unsuited
    return full(b"tkhd", struct.pack(">5I", 0, 0, number, 0, length), kept, flags=_ENABLED_IN_MOVIE)


def _elst(edits: list[tuple[int, int]]) -> bytes:
    """An edit list of (length in movie ticks, first tick of media or -1 for nothing)."""
    entries = b"".join(struct.pack(">IiHH", length, media, 1, 0) for length, media in edits)
    return full(b"elst", struct.pack(">I", len(edits)), entries)


def _mdhd(track: Track) -> bytes:
    length, timescale = sum(track.samples.deltas), track.samples.timescale
    letters = [ord(letter) - 0x60 for letter in track.language]
    language = letters[0] << 10 | letters[1] << 5 | letters[2]
    if length < _WIDE:
        return full(b"mdhd", struct.pack(">4I2H", 0, 0, timescale, length, language, 0))
    return full(b"mdhd", struct.pack(">2QIQ2H", 0, 0, timescale, length, language, 0), version=1)


def _hdlr(handler: bytes) -> bytes:
    name = b"VideoHandler" if handler == b"vide" else b"SoundHandler"
    return full(b"hdlr", bytes(4), handler, bytes(12), name + b"\0")


def _minf(track: Track, offsets: list[int], *, wide: bool) -> bytes:
    picture = track.samples.handler == b"vide"
    header = full(b"vmhd", bytes(8), flags=1) if picture else full(b"smhd", bytes(4))
    reference = full(b"dref", struct.pack(">I", 1), full(b"url ", flags=_SELF_CONTAINED))
    return box(b"minf", header, box(b"dinf", reference), _stbl(track, offsets, wide=wide))


def _stbl(track: Track, offsets: list[int], *, wide: bool) -> bytes:
    samples = track.samples
    count = len(samples.sizes)
    syncs = samples.syncs
    return box(
        b"stbl",
        box(b"stsd", samples.stsd),
        _table(b"stts", _pairs(samples.deltas), width=2),
        _table(b"ctts", _pairs(samples.shifts), width=2) if any(samples.shifts) else b"",
        _table(b"stss", array("I", syncs), width=1) if syncs and len(syncs) < count else b"",
        _table(b"stsc", _spans(track.chunks), width=3),
        full(b"stsz", struct.pack(">II", 0, count), swapped(samples.sizes).tobytes()),
        _places(offsets, wide=wide),
    )


def _table(kind: bytes, numbers: "array[int]", *, width: int) -> bytes:
    """A box of rows of ``width`` numbers."""
    return full(kind, struct.pack(">I", len(numbers) // width), swapped(numbers).tobytes())


def _pairs(values: "array[int]") -> "array[int]":
    """Runs of equal values: how many, and which."""
    found = array("I")
    for value, run in groupby(values):
        found.append(sum(1 for _ in run))
        found.append(value)
    return found


def _spans(chunks: Sequence[Chunk]) -> "array[int]":
    """Which chunks hold how many samples: first chunk, samples in each, description."""
    found = array("I")
    for number, chunk in enumerate(chunks, 1):
        if not found or found[-2] != chunk.samples:
            found.extend((number, chunk.samples, 1))
    return found


def _places(offsets: Iterable[int], *, wide: bool) -> bytes:
    numbers = array("Q" if wide else "I", offsets)
    return full(b"co64" if wide else b"stco", struct.pack(">I", len(numbers)), swapped(numbers).tobytes())


def _moved(trak: bytes, distance: int) -> bytes:
    """The contents of a trak of the frame whose media lies ``distance`` bytes further on."""
    parts: list[bytes] = []
    for one in inside(trak):
        contents = trak[one.start : one.end]
        if one.kind in _CONTAINERS:
            contents = _moved(contents, distance)
        elif one.kind == b"stco":
            offsets = swapped(array("I", contents[8:]))
            contents = _places([offset + distance for offset in offsets], wide=False)[8:]
        parts.append(box(one.kind, contents))
    return b"".join(parts)


def _longest(around: Frame) -> int:
    return int(struct.unpack_from(">I", around.mvhd, 16)[0])


def _movie_ticks(track: Track, ticks: int) -> int:
    return -(-ticks * MOVIE_TICKS // track.samples.timescale)
