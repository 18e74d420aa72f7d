"""Tables of fragments, however they are written: read to the sample, or not at all."""

import os
import struct
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downloader.mux import fragments, index, splice
from downloader.mux.boxes import Unsuited, box, full, only
from downloader.mux.fragments import Samples
from downloader.mux.index import Chunk, Frame, Track

RATE = 600
KEY, OTHER = 0x02000000, 0x01010000


@dataclass(frozen=True)
class Sample:
    size: int
    duration: int
    shift: int
    key: bool


@dataclass(frozen=True)
class Writing:
    """How a fragment is written: what is said once, what for every sample, and where its bytes are said to be."""

    sizes: bool
    durations: bool
    flags: str  # "each", "first", "default"
    base: str  # "moof", "given", "implied"
    wide_time: bool
    split: bool


def moov(handler: bytes = b"vide", *, entry: bytes = b"avc1", count: int = 0, timescale: int = RATE) -> bytes:
    tkhd = full(b"tkhd", struct.pack(">5I", 0, 0, 1, 0, 0), bytes(60), flags=7)
    mdhd = full(b"mdhd", struct.pack(">4I2H", 0, 0, timescale, 0, 0x55C4, 0))
    hdlr = full(b"hdlr", bytes(4), handler, bytes(13))
    stsd = full(b"stsd", struct.pack(">I", 1), box(entry, bytes(78)))
    stsz = full(b"stsz", struct.pack(">II", 0, count))
    minf = box(b"minf", box(b"stbl", stsd, stsz))
    trak = box(b"trak", tkhd, box(b"mdia", mdhd, hdlr, minf))
    trex = full(b"trex", struct.pack(">5I", 1, 1, 7, 5, KEY))
    return box(b"moov", full(b"mvhd", bytes(96)), trak, box(b"mvex", trex))


def fragment(samples: list[Sample], time: int, at: int, how: Writing) -> bytes:
    """A moof and its mdat, to stand at ``at`` in the file."""
    same_size = {s.size for s in samples} == {samples[0].size} and not how.sizes
    same_duration = {s.duration for s in samples} == {samples[0].duration} and not how.durations
    keys = [s.key for s in samples]
    marks = "each" if how.flags == "each" or any(keys[1:]) != all(keys[1:]) else how.flags
    if marks == "default" and any(keys) != all(keys):
        marks = "first"
    tail = OTHER if not all(keys[1:]) else KEY
    flags = {"moof": 0x20000, "given": 0x1, "implied": 0}[how.base]
    fields = struct.pack(">Q", at) if how.base == "given" else b""
    if same_duration:
        flags, fields = flags | 0x8, fields + struct.pack(">I", samples[0].duration)
    if same_size:
        flags, fields = flags | 0x10, fields + struct.pack(">I", samples[0].size)
    if marks != "each":
        default = tail if marks == "first" else (KEY if keys[0] else OTHER)
        flags, fields = flags | 0x20, fields + struct.pack(">I", default)
    tfhd = full(b"tfhd", struct.pack(">I", 1), fields, flags=flags)
    tfdt = full(b"tfdt", struct.pack(">Q" if how.wide_time else ">I", time), version=int(how.wide_time))
    groups = [samples[:1], samples[1:]] if how.split and len(samples) > 1 else [samples]
    signed = min(s.shift for s in samples) < 0

    def truns(offset: int) -> bytes:
        made = b""
        for number, group in enumerate(groups):
            bits = 0x800 | 0x200 * (not same_size) | 0x100 * (not same_duration) | 0x400 * (marks == "each")
            head = b""
            if number == 0:
                bits, head = bits | 0x1, struct.pack(">i", offset)
                if marks == "first":
                    bits, head = bits | 0x4, head + struct.pack(">I", KEY if keys[0] else OTHER)
            rows = b"".join(
                (b"" if same_duration else struct.pack(">I", s.duration))
                + (b"" if same_size else struct.pack(">I", s.size))
                + (struct.pack(">I", KEY if s.key else OTHER) if marks == "each" else b"")
                + struct.pack(">i" if signed else ">I", s.shift)
                for s in group
            )
            made += full(b"trun", struct.pack(">I", len(group)), head, rows, version=int(signed), flags=bits)
        return made

    def moof(offset: int) -> bytes:
        return box(
            b"moof", full(b"mfhd", struct.pack(">I", 1)), box(b"traf", tfhd, tfdt, truns(offset)), box(b"free", b"xx")
        )

    head = moof(len(moof(0)) + 8)
    return head + box(b"mdat", b"".join(bytes([number % 251]) * s.size for number, s in enumerate(samples)))


def tables(path: Path) -> Samples:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return fragments.read(descriptor)
    finally:
        os.close(descriptor)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fragments") / "t.mp4"


any_sample = st.builds(Sample, st.integers(1, 300), st.integers(1, 5000), st.integers(-4000, 4000), st.booleans())
any_writing = st.builds(
    Writing,
    st.booleans(),
    st.booleans(),
    st.sampled_from(["each", "first", "default"]),
    st.sampled_from(["moof", "given", "implied"]),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(
    parts=st.lists(st.tuples(st.lists(any_sample, min_size=1, max_size=6), any_writing), min_size=1, max_size=4),
    origin=st.integers(0, 1 << 31),
    pause=st.integers(0, 1000),
)
def test_what_was_written_is_read(
    path: Path, parts: list[tuple[list[Sample], Writing]], origin: int, pause: int
) -> None:
    data = box(b"ftyp", b"iso6\0\0\0\0") + moov()
    clock, deltas = origin, []
    for number, (samples, how) in enumerate(parts):
        data += box(b"styp", b"msdh") + fragment(samples, clock, len(data) + 12, how)
        deltas += [s.duration for s in samples]
        clock += sum(s.duration for s in samples)
        if number + 1 < len(parts):
            clock, deltas[-1] = clock + pause, deltas[-1] + pause
    path.write_bytes(data)

    found = tables(path)

    written = [s for samples, _ in parts for s in samples]
    assert list(found.sizes) == [s.size for s in written]
    assert list(found.deltas) == deltas
    assert found.raised == max(-min(s.shift for s in written), 0)
    assert list(found.shifts) == [s.shift + found.raised for s in written]
    assert found.syncs == [number for number, s in enumerate(written, 1) if s.key]
    assert (found.timescale, found.handler, found.clock) == (RATE, b"vide", clock)
    media = b"".join(
        data[offset : offset + sum(found.sizes[first : first + count])]
        for (offset, count), first in zip(
            found.runs, accumulate((count for _, count in found.runs), initial=0), strict=False
        )
    )
    assert media == b"".join(bytes([n % 251]) * s.size for samples, _ in parts for n, s in enumerate(samples))


PLAIN = Writing(sizes=True, durations=True, flags="each", base="moof", wide_time=False, split=False)
TWO = [Sample(10, 20, 0, key=True), Sample(11, 20, 0, key=False)]
WHOLE = box(b"ftyp", b"iso6") + moov()


def whole(samples: list[Sample] | None = None, how: Writing = PLAIN, head: bytes = WHOLE) -> bytes:
    return head + fragment(samples or TWO, 0, len(head), how)


def changed(kind: bytes, at: int, new: bytes) -> bytes:
    data = bytearray(whole())
    start = data.index(kind) + 4 + at
    data[start : start + len(new)] = new
    return bytes(data)


def fragment_with(trun: bytes) -> bytes:
    tfhd = full(b"tfhd", struct.pack(">I", 1), flags=0x20000)
    return box(b"moof", box(b"traf", tfhd, full(b"tfdt", bytes(4)), trun)) + box(b"mdat", bytes(100))


UNSUITED = {
    "a table cut within a number": WHOLE
    + fragment_with(full(b"trun", struct.pack(">Ii", 2, 100), bytes(6), flags=0x201)),
    "no offset": WHOLE + fragment_with(full(b"trun", struct.pack(">I", 1), bytes(4), flags=0x200)),
    "no table at all": WHOLE + fragment_with(full(b"trun", flags=0x201)),
    "nothing": b"",
    "no fragment": WHOLE,
    "a fragment before the index": fragment(TWO, 0, 0, PLAIN) + WHOLE,
    "two indexes": whole() + moov(),
    "cut short": whole()[:-1],
    "samples in the index": whole(head=box(b"ftyp", b"iso6") + moov(count=3)),
    "no clock": whole(head=box(b"ftyp", b"iso6") + moov(timescale=0)),
    "an empty sample": whole([Sample(0, 20, 0, key=True), Sample(11, 20, 0, key=False)]),
    "a sample of no time": whole([Sample(10, 0, 0, key=True), Sample(11, 20, 0, key=False)]),
    "shown long before it is decoded": whole([Sample(10, 20, -(1 << 31), key=True), Sample(11, 20, 0, key=False)]),
    "shown absurdly late after a negative offset": whole(
        [Sample(10, 20, -20, key=True), Sample(11, 20, (1 << 31) - 1, key=False)]
    ),
    "shown absurdly late": whole([Sample(10, 20, 0xFFFFFF00, key=True), Sample(11, 20, 0, key=False)]),
    "time goes back": whole() + fragment(TWO, 5, len(whole()), PLAIN),
    "another track": changed(b"tfhd", 4, struct.pack(">I", 2)),
    "no time": changed(b"tfdt", -4, b"free"),
    "encrypted": b"senc".join(whole(how=replace(PLAIN, split=True)).rsplit(b"trun", 1)),
    "two tables of one kind": whole().replace(b"free", b"traf", 1),
    "an absurd count": changed(b"trun", 4, struct.pack(">I", 0x7FFFFFFF)),
    "bytes beyond the file": changed(b"trun", 8, struct.pack(">i", 1 << 30)),
    "bytes before the file": changed(b"trun", 8, struct.pack(">i", -(1 << 30))),
    "a box that is too long": changed(b"moof", -8, struct.pack(">I", 0x7FFFFFFF)),
    "a box that is too short": changed(b"moof", -8, struct.pack(">I", 7)),
    "webm": b"\x1a\x45\xdf\xa3" + bytes(100),
}


def test_the_plain_file_is_read(path: Path) -> None:
    path.write_bytes(whole())

    assert list(tables(path).sizes) == [10, 11]


@pytest.mark.parametrize("name", UNSUITED)
def test_what_is_unusual_is_left_to_others(path: Path, name: str) -> None:
    path.write_bytes(UNSUITED[name])

    with pytest.raises(Unsuited):
        tables(path)


def test_very_many_fragments_are_left_to_ffmpeg(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(whole() + fragment(TWO, 40, len(whole()), PLAIN))
    assert len(tables(path).runs) == 2

    monkeypatch.setattr(fragments, "_MOST_RUNS", 1)
    with pytest.raises(Unsuited):
        tables(path)


@settings(max_examples=500, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4),
    kept=st.just(1.0) | st.floats(0, 1),
)
def test_damage_is_noticed_or_harmless(path: Path, changes: list[tuple[int, bytes]], kept: float) -> None:
    data = bytearray(whole() + fragment(TWO, 40, len(whole()), PLAIN))
    for place, new in changes:
        at = place % len(data)
        data[at : at + len(new)] = new
    path.write_bytes(data[: round(kept * len(data))])

    try:
        found = tables(path)
    except Unsuited:
        return
    size = path.stat().st_size
    assert len(found.sizes) == len(found.deltas) == len(found.shifts) == sum(count for _, count in found.runs)
    assert min(found.sizes) > 0
    assert min(found.deltas) > 0
    at = 0
    for offset, count in found.runs:
        assert 0 <= offset <= offset + sum(found.sizes[at : at + count]) <= size
        at += count


def test_an_index_of_more_than_4_gib() -> None:
    samples = Samples(RATE, b"vide", bytes(84), bytes(8))
    for _ in range(5):
        samples.sizes.append((1 << 31) + 1)
        samples.deltas.append(600)
        samples.shifts.append(0)
    samples.syncs = [1]
    chunks = [Chunk(float(number), number, (1 << 31) + 1, 1) for number in range(5)]
    around = Frame(bytes(8), bytes(12) + struct.pack(">I", index.MOVIE_TICKS) + bytes(84), b"", (), b"", 0, None)
    places = [list(accumulate((chunk.length for chunk in chunks[:-1]), initial=0))]

    head = splice._head(around, [Track(samples, chunks, 0, 3000, "und")], places, 5 * ((1 << 31) + 1))

    table = only(head[: head.rindex(b"mdat") - 4], b"moov", b"trak", b"mdia", b"minf", b"stbl", b"co64")
    assert struct.unpack(">II5Q", table) == (0, 5, *(len(head) + place for place in places[0]))
    assert struct.unpack(">I4sQ", head[-16:]) == (1, b"mdat", 16 + 5 * ((1 << 31) + 1))
