"""What hosts may send, by the thousand: playlists, frames, header fields. Right ones are read, all else is refused."""

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.errors import SourceInvalid
from downloader.fetch import playlist
from downloader.fetch.failures import RangeRefused
from downloader.fetch.frames import FrameReader
from downloader.fetch.http import content_range, parse_head, retry_after, unsatisfied_size

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Kept:
    """An Output that keeps what it is told."""

    def __init__(self) -> None:
        self.frames: list[tuple[int | None, int, bytearray]] = []

    def initialization(self, length: int) -> None:
        self.frames.append((None, length, bytearray()))

    def media(self, sequence: int, length: int) -> None:
        self.frames.append((sequence, length, bytearray()))

    def write(self, data: memoryview) -> None:
        self.frames[-1][2].extend(data)


def packed(kind: int, itag: int, sequence: int, payload: bytes) -> bytes:
    return struct.pack(">BIIQ", kind, itag, sequence, len(payload)) + payload


PAYLOAD = st.binary(max_size=40)


@st.composite
def parts(draw: st.DrawFn) -> tuple[dict[int, list[tuple[int | None, bytes]]], bytes]:
    """The frames of one or two tracks, and a part that carries them in some order."""
    tracks: dict[int, list[tuple[int | None, bytes]]] = {}
    for itag in draw(st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=2, unique=True)):
        first = draw(st.integers(0, 2**31))
        media = draw(st.lists(PAYLOAD, max_size=5))
        tracks[itag] = [(None, draw(PAYLOAD)), *((first + number, load) for number, load in enumerate(media))]
    waiting = {itag: list(frames) for itag, frames in tracks.items()}
    body = b"TTSABR1\n"
    while waiting:
        itag = draw(st.sampled_from(sorted(waiting)))
        sequence, payload = waiting[itag].pop(0)
        body += packed(1 if sequence is None else 2, itag, sequence or 0, payload)
        if not waiting[itag]:
            del waiting[itag]
    return tracks, body + packed(3, 0, 0, b"")


def fed(reader: FrameReader, body: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in pairwise(edges):
        reader.feed(body[start:end])


CUTS = st.lists(st.integers(0, 10_000), max_size=12)


@given(parts(), CUTS)
def test_a_part_is_read_however_it_is_cut(
    made: tuple[dict[int, list[tuple[int | None, bytes]]], bytes], cuts: list[int]
) -> None:
    tracks, body = made
    outputs = {itag: Kept() for itag in tracks}
    reader = FrameReader(outputs)
    fed(reader, body, cuts)
    assert reader.complete
    for itag, frames in tracks.items():
        assert [(sequence, bytes(data)) for sequence, _, data in outputs[itag].frames] == frames


@given(parts(), CUTS, st.integers(0, 10_000), st.integers(1, 255), st.sampled_from(["flip", "cut", "insert", "repeat"]))
def test_a_damaged_part_is_refused_or_still_in_order(
    made: tuple[dict[int, list[tuple[int | None, bytes]]], bytes], cuts: list[int], at: int, mask: int, damage: str
) -> None:
    """Damage that passes has hit a payload, or a header that is as good as the right one."""
    tracks, body = made
    at %= len(body)
    changes: dict[str, Callable[[], bytes]] = {
        "flip": lambda: body[:at] + bytes([body[at] ^ mask]) + body[at + 1 :],
        "cut": lambda: body[:at],
        "insert": lambda: body[:at] + bytes([mask]) + body[at:],
        "repeat": lambda: body + body[at:],
    }
    outputs = {itag: Kept() for itag in tracks}
    reader = FrameReader(outputs)
    try:
        fed(reader, changes[damage](), cuts)
    except RangeRefused:
        return
    if not reader.complete:
        return  # its end makes it a broken one
    assert damage == "flip"
    frames = [frame for kept in outputs.values() for frame in kept.frames]
    assert sorted(length for _, length, _ in frames) == sorted(
        len(load) for track in tracks.values() for _, load in track
    )
    for kept in outputs.values():
        assert kept.frames[0][0] is None
        numbers = [sequence for sequence, _, _ in kept.frames[1:] if sequence is not None]
        assert (
            numbers == [numbers[0] + step for step in range(len(kept.frames) - 1)] if numbers else len(kept.frames) == 1
        )


@given(st.binary(max_size=200), CUTS)
def test_no_bytes_upset_the_frames(body: bytes, cuts: list[int]) -> None:
    for start in (b"", b"TTSABR1\n"):
        reader = FrameReader({1: Kept()})
        try:
            fed(reader, start + body, cuts)
        except RangeRefused:
            continue
        assert not reader.complete or start + body == b"TTSABR1\n" + body


VALUE = st.one_of(
    st.text(max_size=12),
    st.sampled_from(['"a.ts"', "0x" + "1" * 32, "1@2", "-1@-1", "NONE", "AES-128", "YES", "9" * 40]),
)
TAGS = [
    "#EXTINF:4,", "#EXTINF:", "#EXT-X-ENDLIST", "#EXT-X-BYTERANGE:", "#EXT-X-MEDIA-SEQUENCE:", "#EXT-X-TARGETDURATION:", "#EXT-X-GAP",
    "#EXT-X-DISCONTINUITY", "#EXT-X-PROGRAM-DATE-TIME:", "#EXT-X-DATERANGE:", "#EXT-X-PART:", "#EXT-X-SKIP:", "#EXT-X-START:", "#EXT-X-CUE-OUT:",
    "#EXT-X-SERVER-CONTROL:", "#EXT-X-PRELOAD-HINT:", "#EXT-X-RENDITION-REPORT:", "#EXT-X-SESSION-KEY:", "#EXT-OATCLS-SCTE35:", "#EXT-X-BITRATE:",
    '#EXT-X-KEY:METHOD=AES-128,URI="k",IV=', "#EXT-X-KEY:METHOD=", "#EXT-X-KEY:", "#EXT-X-MAP:URI=", '#EXT-X-MAP:URI="i",BYTERANGE=', "#EXT-X-MAP:",
    "#EXT-X-STREAM-INF:BANDWIDTH=", "#EXT-X-STREAM-INF:RESOLUTION=", "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=", "#EXT-X-I-FRAME-STREAM-INF:", "#", "a.ts",
]  # fmt: skip
LINES = st.lists(st.builds("{}{}".format, st.sampled_from(TAGS), VALUE | st.just("")) | VALUE, max_size=12)


@given(LINES, st.booleans())
def test_any_lines_are_a_playlist_or_refused(lines: list[str], ended: bool) -> None:  # noqa: FBT001
    text = "\n".join(["#EXTM3U", *lines, *(["#EXT-X-ENDLIST"] if ended else [])])
    try:
        found = playlist.read(text, "http://media.example/a/b.m3u8")
    except SourceInvalid:
        return
    if isinstance(found, playlist.Master):
        assert found.choose(720) in found.variants
        return
    assert found.segments
    for segment in found.segments:
        assert segment.span is None or 0 <= segment.span[0] < segment.span[1]
        assert len(segment.iv) == (0 if segment.key_url is None else 16)


@given(st.lists(st.tuples(st.integers(1, 10**6), st.none() | st.integers(0, 10**9)), min_size=1, max_size=20))
def test_byte_ranges_follow_each_other(ranges: list[tuple[int, int | None]]) -> None:
    lines, expected, at = [], [], 0
    for length, offset in ranges:
        at = at if offset is None else offset
        lines += ["#EXTINF:1,", f"#EXT-X-BYTERANGE:{length}" + ("" if offset is None else f"@{offset}"), "all.mp4"]
        expected.append((at, at + length))
        at += length
    found = playlist.read("\n".join(["#EXTM3U", *lines, "#EXT-X-ENDLIST"]), "http://media.example/a.m3u8")
    assert isinstance(found, playlist.Playlist)
    assert [segment.span for segment in found.segments] == expected


NUMBER = st.integers(-5, 10**20).map(str) | st.sampled_from(["", "*", "+1", "1_0", "٣", "1.5", "0x1"])


@given(NUMBER, NUMBER, NUMBER, st.sampled_from(["bytes ", "bytes=", "Bytes ", "bytes", "items "]))
def test_content_range_reads_what_is_right_and_nothing_else(first: str, last: str, total: str, unit: str) -> None:
    found = content_range(f"{unit}{first}-{last}/{total}")
    plain = unit == "bytes " and all(text.isascii() and text.isdigit() and len(text) <= 18 for text in (first, last))
    sized = total == "*" or (total.isascii() and total.isdigit() and len(total) <= 18)
    right = plain and sized and int(first) <= int(last) and (total == "*" or int(last) < int(total))
    assert (found is not None) is right
    if found is not None:
        assert (found.first, found.last) == (int(first), int(last))
        assert found.total == (None if total == "*" else int(total))
    assert unsatisfied_size(f"{unit}*/{total}") == (int(total) if unit == "bytes " and sized and total != "*" else None)


@given(st.lists(NUMBER | st.text(max_size=8), max_size=3))
def test_a_length_is_the_only_one_there_is(values: list[str]) -> None:
    lines = [b"HTTP/1.1 200 OK\r\n", *(f"Content-Length: {value}\r\n".encode("latin-1", "replace") for value in values)]
    seen = {line.decode("latin-1").partition(":")[2].strip() for line in lines[1:]}
    text = seen.pop() if len(seen) == 1 else ""
    right = text.isascii() and text.isdigit() and len(text) <= 18
    assert parse_head(lines).length == (int(text) if right else None)


SECONDS = st.integers(
    int(datetime(1994, 1, 1, tzinfo=UTC).timestamp()), int(datetime(2060, 1, 1, tzinfo=UTC).timestamp())
)
DATES = SECONDS.map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(DATES, st.sampled_from(["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"]))
def test_retry_after_takes_every_form_of_a_date(date: datetime, form: str) -> None:
    """All three of RFC 9110, 5.6.7; two-digit years are of this half century."""
    expected = max(0.0, (date - NOW).total_seconds())
    assert retry_after(date.strftime(form), NOW) == expected


@pytest.mark.parametrize(
    "value", ["", " ", "1 2", "١٢", "Mon, 99 Jan 2026 00:00:00 GMT", "Mon, 01 Jan 99999 00:00:00 GMT", "\x00", "1" * 13]
)
def test_retry_after_refuses(value: str) -> None:
    assert retry_after(value, NOW) is None


@given(st.timedeltas(timedelta(0), timedelta(days=9)))
def test_retry_after_in_seconds(pause: timedelta) -> None:
    assert retry_after(str(int(pause.total_seconds())), NOW) == int(pause.total_seconds())
