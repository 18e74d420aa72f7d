"""Hosts that misbehave: the right bytes, or one code and nothing left on disk."""

import struct
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from downloader.errors import (
    DownloadError,
    MediaTooLarge,
    SourceForbidden,
    SourceGone,
    SourceInvalid,
    UpstreamChanged,
    UpstreamUnavailable,
)
from tests.fetch.conftest import QUICK, Bench, video
from tests.origin import Call, Origin, faults, media_bytes
from tests.origin.server import Script

SIZE = 3_200_003
DATA = media_bytes(SIZE)

RECOVERED: dict[str, Script] = {
    "whole bodies to ranges": faults.whole_to_ranges,
    "ranges honoured, then ignored": faults.after(2, faults.whole_to_ranges),
    "If-Range answered wrongly": faults.whole_to_if_range,
    "206 without Content-Range, always": lambda call: faults.no_content_range(call) if call.span else call.serve(),
    "206 without Content-Range, once": faults.once(faults.no_content_range),
    "206 with a wrong start, always": lambda call: faults.wrong_start(call) if call.span else call.serve(),
    "206 with a wrong start, once": faults.once(faults.wrong_start),
    "bytes 3/7": lambda call: faults.rubbish_content_range(call) if call.span else call.serve(),
    "206 shorter than asked": faults.short_range,
    "multipart unasked": lambda call: faults.multipart(call) if call.span else call.serve(),
    "longer than asked": faults.longer_than_asked,
    "longer than said": faults.longer_than_said,
    "416 with our size, once": faults.once(faults.unsatisfiable_ours),
    "416 with our size, always": lambda call: faults.unsatisfiable_ours(call) if call.span else call.serve(),
    "416 with none, always": lambda call: faults.unsatisfiable(call) if call.span else call.serve(),
    "416 with a smaller one, once": faults.once(faults.unsatisfiable_smaller),
    "short body then FIN": faults.short_body,
    "RST mid-body": faults.reset_mid_body,
    "chunked coding cut": faults.chunked_cut,
    "bad chunk size, once": faults.once(faults.chunked_bad_size),
    "two lengths, once": faults.once(faults.two_lengths),
    "negative length, once": faults.once(faults.negative_length),
    "huge length": faults.huge_length,
    "rubbish length, once": faults.once(faults.rubbish_length),
    "length and chunked": faults.length_and_chunked,
    "no length at all": faults.without_length,
    "100 KB header": faults.long_header,
    "400 KB header field, once": faults.once(faults.huge_header),
    "empty replies at first": faults.until(3, faults.empty_reply),
    "not HTTP, once": faults.once(faults.not_http),
    "gzip, once": faults.once(faults.gzipped),
    "gzip to ranges, always": lambda call: faults.gzipped(call) if call.span else call.serve(),
    "200 page, once": faults.once(faults.page),
    "206 page, once": faults.once(faults.partial_page),
    "headers at 1 B/s, once": faults.once(faults.slow_head),
    "stall, once": faults.once(faults.stalled),
    "burst of 500": faults.until(3, faults.BY_NAME["500"]),
    "burst of 502": faults.until(3, faults.BY_NAME["502"]),
    "burst of 503": faults.until(3, faults.BY_NAME["503"]),
    "burst of 504": faults.until(3, faults.BY_NAME["504"]),
    "burst of 429": faults.until(3, faults.BY_NAME["429"]),
}


@pytest.mark.parametrize("host", ["127.0.0.1", "r1.googlevideo.com"], ids=["header", "query"])
@pytest.mark.parametrize("name", RECOVERED)
def test_the_right_bytes_all_the_same(origin: Origin, bench: Bench, name: str, host: str) -> None:
    """googlevideo's ranges are asked for in the query, where nothing but the length says which bytes came."""
    bench.resolve = (f"r1.googlevideo.com:{origin.port}:127.0.0.1",)
    origin.add("/v.mp4", DATA, etag='"one"', script=RECOVERED[name])
    url = origin.url("/v.mp4?id=1", host=host)
    assert bench.bytes_of(bench.fetch(video(url, SIZE))) == DATA
    assert len(bench.left()) == 2


@pytest.mark.parametrize(
    "name", ["ranges honoured, then ignored", "206 shorter than asked", "RST mid-body", "short body then FIN"]
)
def test_without_any_validator(origin: Origin, bench: Bench, name: str) -> None:
    url = origin.add("/v.mp4", DATA, script=RECOVERED[name])
    assert bench.bytes_of(bench.fetch(video(url))) == DATA


@pytest.mark.parametrize("etag", ['"one"', None])
def test_one_plain_connection_goes_on_where_it_broke(origin: Origin, bench: Bench, etag: str | None) -> None:
    """The host ignores ranges until it has broken off the whole: then it can do them."""
    broken: list[str] = []

    def script(call: Call) -> None:
        if broken:
            call.serve()
        elif call.span is not None:
            faults.whole_to_ranges(call)
        else:
            broken.append(call.seen.target)
            call.head(200, *call.fields(length=SIZE))
            call.body(DATA[: SIZE // 2])
            call.close()

    fetched = bench.fetch(video(origin.add("/v.mp4", DATA, etag=etag, script=script), SIZE))
    assert bench.bytes_of(fetched) == DATA
    assert broken
    assert origin.requests[-1].headers["range"] == f"bytes={SIZE // 2}-{SIZE - 1}"


FINAL: dict[str, tuple[str, type[DownloadError]]] = {
    "401": ("401", SourceForbidden),
    "403": ("403", SourceForbidden),
    "451": ("451", SourceForbidden),
    "404": ("404", SourceGone),
    "410": ("410", SourceGone),
    "400": ("400", SourceInvalid),
    "a page": ("page", SourceInvalid),
    "a JSON error": ("json_page", SourceInvalid),
    "a page in disguise": ("disguised_page", SourceInvalid),
    "always gzip": ("gzipped", SourceInvalid),
    "redirect loop": ("redirect_loop", SourceInvalid),
    "two lengths": ("two_lengths", SourceInvalid),
    "not HTTP": ("not_http", SourceInvalid),
    "400 KB header field": ("huge_header", SourceInvalid),
    "a page for every range": ("partial_page", SourceInvalid),
    "never a Content-Range": ("no_content_range", SourceInvalid),
    "always a wrong start": ("wrong_start", SourceInvalid),
    "always bytes 3/7": ("rubbish_content_range", SourceInvalid),
    "always multipart": ("multipart", SourceInvalid),
    "always 416 with our size": ("unsatisfiable_ours", SourceInvalid),
    "always 416 with a smaller one": ("unsatisfiable_smaller", SourceInvalid),
    "always 416 with none": ("unsatisfiable", SourceInvalid),
    "always a negative length": ("negative_length", SourceInvalid),
    "always a rubbish length": ("rubbish_length", SourceInvalid),
}


@pytest.mark.parametrize("name", FINAL)
def test_one_code_and_nothing_left(origin: Origin, bench: Bench, name: str) -> None:
    fault, expected = FINAL[name]
    url = origin.add("/v.mp4", DATA) + f"?fault={fault}&signature=secret"
    with pytest.raises(expected) as caught:
        bench.fetch(video(url, SIZE))
    assert "secret" not in caught.value.message
    assert caught.value.message.endswith(".")
    assert bench.left() == []


LATER = ("408", "429", "500", "502", "503", "504", "empty_reply", "slow_head", "chunked_bad_size")
LIMITED = ("endless",)


@pytest.mark.parametrize("fault", LATER)
def test_worth_another_try_later(origin: Origin, bench: Bench, fault: str) -> None:
    bench.limits = replace(QUICK, attempts=3, first_byte=0.5)
    url = origin.add("/v.mp4", DATA) + f"?fault={fault}"
    with pytest.raises(DownloadError) as caught:
        bench.fetch(video(url, SIZE))
    assert caught.value.verdict == "retry"


@pytest.mark.parametrize("fault", ["page", "wrong_start"])
def test_faults_that_come_apart_throw_nothing_away(origin: Origin, bench: Bench, fault: str) -> None:
    """One connection, so that a chunk ends between any two of them."""
    bench.options = {"download_workers": 1, "download_chunk_size": SIZE // 16}

    def script(call: Call) -> None:
        faults.BY_NAME[fault](call) if call.number % 4 == 0 else call.serve()

    url = origin.add("/v.mp4", DATA, etag='"one"', script=script)
    fetched = bench.fetch(video(url, SIZE))
    assert bench.bytes_of(fetched) == DATA
    assert fetched.bytes_moved == SIZE
    assert all("range" in seen.headers for seen in origin.requests)


def test_an_empty_object(origin: Origin, bench: Bench) -> None:
    with pytest.raises(SourceInvalid, match="empty"):
        bench.fetch(video(origin.add("/v.mp4", b"")))
    assert bench.left() == []


def test_an_endless_body_ends_at_the_limit(origin: Origin, bench: Bench) -> None:
    bench.options = {"media_max_bytes": 2_000_000}
    with pytest.raises(MediaTooLarge):
        bench.fetch(video(origin.add("/v.mp4", DATA, script=faults.endless)))
    assert bench.left() == []


def test_a_size_beyond_the_limit_is_refused_at_once(origin: Origin, bench: Bench) -> None:
    bench.options = {"media_max_bytes": SIZE - 1}
    with pytest.raises(MediaTooLarge):
        bench.fetch(video(origin.add("/v.mp4", DATA)))
    assert origin.count() == 1
    assert bench.left() == []


def changing(field: str, *, number: int) -> Callable[[Call], None]:
    """The object becomes another one of the same size with the request of that number."""
    other = media_bytes(SIZE, 99)

    def script(call: Call) -> None:
        if call.number == number:
            call.resource.body = other
            setattr(call.resource, field, {"etag": '"two"', "last_modified": "Tue, 02 Jan 2024 00:00:00 GMT"}[field])
        call.serve()

    return script


@pytest.mark.parametrize("number", [2, 3, 4])
@pytest.mark.parametrize(
    ("field", "value"), [("etag", '"one"'), ("etag", 'W/"one"'), ("last_modified", "Mon, 01 Jan 2024 00:00:00 GMT")]
)
def test_an_object_that_changes_is_started_anew(
    origin: Origin, bench: Bench, field: str, value: str, number: int
) -> None:
    url = origin.add("/v.mp4", DATA, script=changing(field, number=number), **{field: value})
    assert bench.bytes_of(bench.fetch(video(url, SIZE))) == media_bytes(SIZE, 99)
    assert len(bench.left()) == 2


def test_total_changes_between_chunks(origin: Origin, bench: Bench) -> None:
    longer = media_bytes(SIZE + 77, 5)

    def script(call: Call) -> None:
        if call.number == 3:
            call.resource.body = longer
        call.serve()

    assert bench.bytes_of(bench.fetch(video(origin.add("/v.mp4", DATA, script=script)))) == longer


def test_an_object_that_changes_all_the_time(origin: Origin, bench: Bench) -> None:
    def script(call: Call) -> None:
        call.resource.etag = f'"{call.number}"'
        call.resource.body = media_bytes(SIZE, call.number)
        if call.span and call.span[0] == 0:
            call.serve()
        else:
            call.reset()

    with pytest.raises((UpstreamChanged, DownloadError)) as caught:
        bench.fetch(video(origin.add("/v.mp4", DATA, script=script)))
    assert caught.value.verdict == "retry"


def test_a_validator_that_goes_missing(origin: Origin, bench: Bench) -> None:
    def script(call: Call) -> None:
        if call.number > 1:
            call.resource.etag = None
        call.serve()

    url = origin.add("/v.mp4", DATA, etag='W/"one"', script=script)
    assert bench.bytes_of(bench.fetch(video(url))) == DATA


def test_modification_time_alone_changes_beside_a_strong_tag(origin: Origin, bench: Bench) -> None:
    def script(call: Call) -> None:
        call.resource.last_modified = f"Mon, 01 Jan 2024 00:00:{call.number:02} GMT"
        call.serve()

    url = origin.add("/v.mp4", DATA, etag='"one"', script=script)
    fetched = bench.fetch(video(url))
    assert bench.bytes_of(fetched) == DATA
    assert fetched.bytes_moved == SIZE


@pytest.mark.parametrize("form", ["seconds", "date", "huge"])
def test_retry_after_is_heeded_and_capped(origin: Origin, bench: Bench, form: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    value = {"seconds": "1", "date": date, "huge": "99999999"}[form]
    asked: list[float] = []

    def script(call: Call) -> None:
        asked.append(time.monotonic())
        call.status(429, f"Retry-After: {value}") if call.number == 1 else call.serve()

    assert bench.bytes_of(bench.fetch(video(origin.add("/v.mp4", DATA, script=script)))) == DATA
    assert 0.28 <= asked[1] - asked[0] < 2.0


def test_a_host_that_bears_no_second_connection_is_believed(origin: Origin, bench: Bench) -> None:
    """The first one takes all there is: the second would take over from it."""
    bench.limits = replace(QUICK, retry_after_cap=60.0)
    size, serving = 900_000, threading.Lock()

    def script(call: Call) -> None:
        if not serving.acquire(blocking=False):
            call.status(429, "Retry-After: 60")
            return
        try:
            call.serve()
        finally:
            serving.release()

    url = origin.add("/v.mp4", DATA[:size], etag='"one"', rate=1_000_000, script=script)
    assert bench.bytes_of(bench.fetch(video(url, size))) == DATA[:size]
    assert origin.count() == 2


def test_a_refused_connection(bench: Bench) -> None:
    with pytest.raises(UpstreamUnavailable, match="refused the connection"):
        bench.fetch(video("http://127.0.0.1:1/v.mp4"))


def test_optional_tracks_may_fail(origin: Origin, bench: Bench) -> None:
    subtitle = video(origin.url("/none.vtt"), key="sub-en-0", kind="subtitle", optional=True)
    fetched = bench.fetch(video(origin.add("/v.mp4", DATA)), subtitle)
    assert [found.track.key for found in fetched.tracks] == ["video"]
    assert len(fetched.warnings) == 1
    assert len(bench.left()) == 2


@pytest.mark.parametrize("transport", ["hls", "sabr"])
def test_the_limit_holds_while_pieces_are_written(origin: Origin, bench: Bench, transport: str) -> None:
    """No length is declared anywhere: only what is written can say that it is too much."""
    sent = threading.Event()

    def script(call: Call) -> None:
        kind = "application/vnd.typetype.sabr-download" if transport == "sabr" else "video/mp2t"
        call.head(200, f"Content-Type: {kind}", "Transfer-Encoding: chunked")
        if transport == "sabr":
            head = struct.pack(">BIIQ", 1, 137, 0, 8) + bytes(8) + struct.pack(">BIIQ", 2, 137, 1, 200 << 20)
            call.raw(b"%x\r\nTTSABR1\n%s\r\n" % (len(head) + 8, head))
        for _ in range(1000):
            call.raw(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
            call.wait(0.001)
        sent.set()

    bench.options = {"media_max_bytes": 3_000_000, "typetype_api_base": origin.url("")}
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:4,\n/sabr/download/x\n#EXT-X-ENDLIST\n"
    url = origin.add("/sabr/download/x", script=script)
    url = origin.add("/a.m3u8", playlist) if transport == "hls" else url
    with pytest.raises(MediaTooLarge):
        bench.fetch(video(url, transport=transport, itag=137))
    assert not sent.is_set()
    assert bench.left() == []


def test_a_picture_has_a_small_limit_without_a_length_too(origin: Origin, bench: Bench) -> None:
    bench.limits = replace(QUICK, image_bytes=300_000)
    cover = video(origin.add("/c.jpg", DATA, script=faults.without_length), key="cover", kind="image", optional=True)
    fetched = bench.fetch(cover)
    assert fetched.tracks == ()
    assert "larger than this service takes" in fetched.warnings[0]
    assert bench.left() == []


def test_small_things_have_small_limits(origin: Origin, bench: Bench) -> None:
    text = b"WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n"
    good = video(
        origin.add("/s.vtt", text, content_type="text/vtt", script=faults.without_length),
        key="sub-en-0",
        kind="subtitle",
    )
    long = video(
        origin.add("/long.vtt", bytes(17 << 20), content_type="text/vtt"),
        key="sub-de-0",
        kind="subtitle",
        optional=True,
    )
    fetched = bench.fetch(good, long)
    assert bench.bytes_of(fetched, "sub-en-0") == text
    assert fetched.tracks[0].format == "text"
    assert "more than this service takes" in fetched.warnings[0]


def test_every_fault_has_an_asserted_end() -> None:
    recovered = {name for name, fault in faults.BY_NAME.items() if fault in RECOVERED.values()}
    ended = {fault for fault, _ in FINAL.values()} | {*LATER, *LIMITED}
    only_once = {"stalled"}  # for good, it is a slow host: every answer brings a little
    assert recovered | ended | only_once == set(faults.BY_NAME)
