import contextlib
import json
import unicodedata
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downloader.errors import ExtractionFailed, NoStream
from downloader.handoff import Plan
from downloader.job import Options, Subtitles
from downloader.typetype import models
from downloader.typetype.choose import Source, choose
from downloader.typetype.models import clean, parse_answer
from downloader.typetype.offer import Offer
from tests.typetype.offers import API


def parsed(**answer: Any) -> Offer:
    return parse_answer(json.dumps(answer).encode(), API)


def first_video(**stream: Any) -> Any:
    return parsed(videoOnlyStreams=[{"url": "https://m.test/v"} | stream]).videos[0]


def test_an_empty_answer_is_an_empty_offer():
    assert parsed() == Offer()
    assert parsed(videoStreams=None, audioStreams=[None], subtitles=[None], title=None, unknown={"a": 1}) == Offer()


@pytest.mark.parametrize(
    ("value", "expected"),
    [(137, 137), ("137", 137), (137.0, 137), (0, None), (-1, None), ("", None), ("dash-1", None), (None, None)],
)
def test_counts_as_numbers_or_text(value, expected):
    assert first_video(itag=value).itag == expected
    assert first_video(contentLength=value).size == expected


@pytest.mark.parametrize("value", [1e300, -1e300, "1e999", "nan", "9" * 5000, 10**40])
def test_absurd_numbers_are_unknown(value):
    assert first_video(contentLength=value, bitrate=value).size is None
    assert parsed(duration=value).duration is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"height": 720}, 720),
        ({"height": 0, "resolution": "1080p60"}, 1080),
        ({"resolution": "1280x720"}, 720),
        ({"resolution": "source"}, None),
    ],
)
def test_heights(given, expected):
    assert first_video(**given).height == expected


def test_families_and_formats():
    stream = first_video(mimeType='video/webm; codecs="vp09.00.51.08"')
    assert (stream.codec, stream.video_family, stream.format) == ("vp09.00.51.08", "vp9", "webm")
    whole = parsed(videoStreams=[{"url": "https://m.test/v", "codec": "avc1.42001E, mp4a.40.2"}]).muxed[0]
    assert (whole.video_family, whole.audio_family) == ("h264", "aac")
    sound = parsed(audioStreams=[{"url": "https://m.test/a", "codec": "mp4a.40.2", "format": "M4A"}]).audios[0]
    assert (sound.audio_family, sound.format) == ("aac", "mp4")


@pytest.mark.parametrize(
    "stream",
    [
        {"url": ""},
        {"url": "ftp://m.test/a"},
        {"url": "file:///etc/passwd"},
        {"url": "https:///nohost"},
        {"url": "https://m.test/a b"},
        {"url": "https://m.test/\r\nX: y"},
        {"url": "https://[bad/"},
        {"url": "//m.test/a"},
        {"url": "https://m.test/manifest.mpd", "deliveryMethod": "dash"},
        {"url": "https://m.test/" + "x" * 40_000},
        {"deliveryMethod": "sabr"},
        {"deliveryMethod": "sabr", "manifestUrl": "/sabr/manifest/abc"},
        {"deliveryMethod": "sabr", "itag": 1, "manifestUrl": "/elsewhere/abc"},
        {"deliveryMethod": "sabr", "itag": 1, "manifestUrl": "/sabr/manifest/"},
        {"deliveryMethod": "sabr", "itag": 1, "manifestUrl": "/sabr/manifest/../../admin"},
        {"deliveryMethod": "sabr", "itag": 1, "manifestUrl": "/sabr/manifest/%2e%2e/admin"},
    ],
)
def test_streams_that_cannot_be_fetched_are_left_out(stream):
    assert parsed(videoOnlyStreams=[stream]).videos == ()


@pytest.mark.parametrize(
    "manifest",
    ["/sabr/manifest/abc", "https://elsewhere.test/x/sabr/manifest/abc?token=1", f"{API}/sabr/manifest/abc"],
)
def test_sabr_always_comes_from_the_server_itself(manifest):
    stream = parsed(videoOnlyStreams=[{"deliveryMethod": "sabr", "itag": 1, "manifestUrl": manifest}]).videos[0]
    assert (stream.transport, stream.url) == ("sabr", f"{API}/sabr/download/abc")


def test_paths_of_the_servers_own_become_absolute():
    assert parsed(thumbnailUrl="/proxy?url=x").thumbnail_url == f"{API}/proxy?url=x"


def test_playlists_are_hls():
    assert first_video(url="https://m.test/a.M3U8?x=1").transport == "hls"
    assert first_video(url="", manifestUrl="https://m.test/a", deliveryMethod="HLS").transport == "hls"


def test_sponsored_segments_in_milliseconds_become_seconds():
    segment = {"startTime": 10_000, "endTime": 20_000, "category": "SPONSOR", "action": "SKIP"}
    found = parsed(duration=60, sponsorBlockSegments=[segment, {"startTime": 5, "endTime": 1}, {}]).sponsored
    assert [(item.start, item.end, item.category, item.action) for item in found] == [(10.0, 20.0, "sponsor", "skip")]
    seconds = {"startTime": 10, "endTime": 61, "category": "sponsor"}
    assert parsed(duration=60, sponsorBlockSegments=[seconds]).sponsored[0].end == 61.0


def test_a_title_of_a_megabyte_is_cut():
    offer = parsed(title="x" * 1_000_000, description="y" * 1_000_000)
    assert (len(offer.title), len(offer.description)) == (1_000, 20_000)


def test_text_is_cleaned():
    offer = parsed(title=" a\u0000b\r\nc\u2028d ", description="one\ntwo\u0007")
    assert (offer.title, offer.description) == ("a b c d", "one\ntwo")


@pytest.mark.parametrize(
    "answer",
    [{"videoOnlyStreams": {}}, {"title": []}, {"videoOnlyStreams": [3]}, {"audioStreams": [{"itag": []}]}],
)
def test_a_wrong_type_is_named(answer):
    with pytest.raises(ExtractionFailed, match=r"unexpected shape: .* `\$\."):
        parsed(**answer)


WIRE = (models.WireAnswer, models.WireStream, models.WireSubtitle, models.WireChapter, models.WireSponsored)
FIELDS = st.sampled_from(sorted({field.encode_name for kind in WIRE for field in msgspec.structs.fields(kind)}))
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["https://m.test/v", "sabr", "/sabr/manifest/a", "avc1", "opus", "video/mp4", "-1", "1e400", "en"]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(FIELDS, inner, max_size=6)),
    max_leaves=25,
)
STREAMS = st.lists(st.dictionaries(FIELDS, st.one_of(st.none(), st.integers(), TEXTS), max_size=8), max_size=3)
ANSWERS = st.dictionaries(FIELDS, st.one_of(VALUES, STREAMS), max_size=8)


@settings(max_examples=200, deadline=None)
@given(ANSWERS)
def test_wild_json_ends_as_a_plan_or_one_of_our_errors(answer):
    body = json.dumps(answer).encode()
    options = Options(subtitles=Subtitles(enabled=True, auto=True), sponsor_block=True)
    try:
        found = choose(parse_answer(body, API), options, Source("https://e.test/", API))
    except (ExtractionFailed, NoStream):
        return
    stored = msgspec.json.encode(found)
    assert b"\\u0000" not in stored  # Postgres keeps none
    assert msgspec.json.decode(stored, type=Plan) == found


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_wild_bytes_end_as_one_of_our_errors_or_an_offer(body):
    with contextlib.suppress(ExtractionFailed):
        assert isinstance(parse_answer(body, API), Offer)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200), st.integers(1, 50))
def test_clean_text_is_bounded_and_printable(text, limit):
    found = clean(text, limit)
    assert len(found) <= limit
    assert found == found.strip()
    assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in found)
