"""Header fields: right ones are read, all else is refused."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.fetch.http import ContentRange, content_range, parse_head, retry_after, unsatisfied_size
from downloader.fetch.identity import Identity
from downloader.fetch.sniff import is_page, sniff_bytes

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.integers(0, 10**15), st.integers(0, 10**9), st.integers(0, 10**9))
def test_content_range_reads_back(first: int, length: int, rest: int) -> None:
    last = first + length
    assert content_range(f"bytes {first}-{last}/{last + 1 + rest}") == ContentRange(first, last, last + 1 + rest)
    assert content_range(f"bytes {first}-{last}/*") == ContentRange(first, last, None)


@pytest.mark.parametrize(
    "value",
    [None, "", "bytes 3/7", "bytes 5-3/9", "bytes 0-9/9", "bytes 0-1", "bytes */9", "items 0-1/2", "bytes -1-2/3", "bytes 0-1/2x",
     "bytes 0-1/" + "9" * 40, "bytes \u0660-\u0661/\u0662", "bytes 0 - 1/2"],
)  # fmt: skip
def test_content_range_refuses(value: str | None) -> None:
    assert content_range(value) is None


@given(st.text())
def test_nothing_wild_gets_through(text: str) -> None:
    content_range(text)
    unsatisfied_size(text)
    seconds = retry_after(text, NOW)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0), ("120", 120), ("Thu, 01 Jan 2026 00:01:00 GMT", 60), ("Wed, 31 Dec 2025 00:00:00 GMT", 0), ("soon", None), ("-5", None), ("1.5", None), (None, None)],
)  # fmt: skip
def test_retry_after_in_both_forms(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


def test_contradictory_fields_are_none() -> None:
    head = parse_head(
        [b"HTTP/1.1 200 OK\r\n", b"Content-Length: 5\r\n", b"content-length: 6\r\n", b"ETag: a\r\n", b"etag: a\r\n"]
    )
    assert (head.status, head.length, head.get("etag")) == (200, None, "a")


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_any_bytes_are_a_head(lines: list[bytes]) -> None:
    head = parse_head(lines)
    assert head.status >= 0
    assert head.length is None or head.length >= 0


STRONG, WEAK, DATED = Identity(9, '"a"'), Identity(9, 'W/"a"'), Identity(9, None, "d1")


@pytest.mark.parametrize(
    ("pinned", "later", "vouched", "same"),
    [
        (STRONG, Identity(9, '"a"'), False, True), (STRONG, Identity(9, '"b"'), False, False), (STRONG, Identity(8, '"a"'), False, False),
        (STRONG, Identity(9), False, False), (STRONG, Identity(9), True, True), (WEAK, Identity(9, 'W/"b"'), False, False),
        (DATED, Identity(9, None, "d1"), False, True), (DATED, Identity(9, None, "d2"), False, False), (DATED, Identity(9), False, False),
        (Identity(9), Identity(9, '"a"'), False, True), (Identity(), Identity(9), False, True),
    ],
)  # fmt: skip
def test_what_counts_as_the_same_object(pinned: Identity, later: Identity, vouched: bool, same: bool) -> None:  # noqa: FBT001
    assert (pinned.conflict(later, vouched=vouched) is None) is same


def test_only_strong_tags_stand_in_if_range() -> None:
    assert (STRONG.strong, WEAK.strong, DATED.strong) == ('"a"', None, None)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\x00\x00\x00\x18ftypmp42", "mp4"), (b"\x00\x00\x00\x18styp", "mp4"), (b"\x1a\x45\xdf\xa3....", "webm"), (b"OggS\x00", "ogg"),
        (b"G" + bytes(187) + b"G" + bytes(187), "mpegts"), (b"FLV\x01", "flv"), (b"ID3\x04", "mp3"), (b"\xff\xfb\x90", "mp3"),
        (b"\xff\xd8\xff\xe0", "image"), (b"\x89PNG\r\n\x1a\n", "image"), (b"RIFF....WEBPVP8", "image"), (b"WEBVTT\n", "text"),
        (b"\x00\x00\x00\x18ftypavif", "image"), ("é".encode() * 600, "text"), (bytes(40), None), (b"", None),
    ],
)  # fmt: skip
def test_formats_by_their_first_bytes(head: bytes, expected: str | None) -> None:
    assert sniff_bytes(head) == expected


@pytest.mark.parametrize(
    ("head", "page"),
    [(b"\n <!DOCTYPE HTML>", True), (b"\xef\xbb\xbf<html lang=x>", True), (b"WEBVTT", False), (b"", False)],
)
def test_pages(head: bytes, page: bool) -> None:  # noqa: FBT001
    assert is_page(head) is page
