"""What a POST may say: normalized when it makes sense, refused by the field's name when it does not."""

import json
from http import HTTPStatus
from itertools import product
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.cache_key import cache_key
from downloader.job import Options, Subtitles
from web import validate
from web.errors import Refusal

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
NAMES = [
    "mode", "quality", "format", "container", "videoItag", "audioItag", "height", "fps", "videoCodec", "audioCodec",
    "bitrate", "allowQualityFallback", "audioPassthrough", "sponsorBlock", "sponsorBlockCategories", "thumbnailOnly",
    "subtitles", "callbackUrl",
]  # fmt: skip


def options(**given: object) -> Options:
    return validate.options({"options": given})


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"3", b'"x"', b"\xff", b'{"url":"\xff"}', b"[" * 60_000, b"NaN"]
)
def test_refuses_what_is_no_object(body):
    with pytest.raises(Refusal) as refused:
        validate.document(body)
    assert (refused.value.status, refused.value.code) == (HTTPStatus.BAD_REQUEST, "invalid_json")


@pytest.mark.parametrize(
    "value",
    [
        None, "", "  ", 3, [], "clip", "/watch?v=x", "//host/x", "ftp://host/x", "file:///etc/passwd", "javascript:alert(1)",
        "http://", "https:///path", "http://:80/", "http://host:99999/", "http://[::1", "http://a b/", "http://host/\r\nX: y",
        "http://host/\x00", "http://user:secret@host/", "http://host/" + "x" * 8192,
    ],
)  # fmt: skip
def test_refuses_urls(value):
    with pytest.raises(Refusal) as refused:
        validate.url({"url": value})
    assert refused.value.code == "invalid_url"
    assert "secret" not in refused.value.sentence


def test_a_missing_url_is_refused():
    with pytest.raises(Refusal, match="url is missing"):
        validate.url({})


@pytest.mark.parametrize(
    "url", ["https://example.com/v", "HTTP://EXAMPLE.com", "http://[::1]:8080/x?y#z", "https://exämple.de/ü"]
)
def test_keeps_urls(url):
    assert validate.url({"url": f" {url}\n"}) == url


def test_unwraps_a_watch_page():
    inner = "https://www.youtube.com/watch?v=abc&t=3"
    outer = f"https://app.example/watch?v={quote(inner, safe='')}"
    assert validate.url({"url": outer}) == inner
    assert validate.url({"url": f"https://app.example/x/watch/?list=1&v={quote(outer, safe='')}"}) == inner
    assert validate.url({"url": inner}) == inner


def test_an_unwrapped_url_is_checked_as_well():
    with pytest.raises(Refusal):
        validate.url({"url": f"https://app.example/watch?v={quote('http://u:p@host/', safe='')}"})


def test_nothing_said_is_the_default():
    assert validate.options({}) == options() == Options()
    assert validate.options({"options": None}) == Options()
    assert options(**dict.fromkeys(NAMES)) == Options()
    assert options(subtitles={"enabled": None, "languages": None, "format": None}) == Options()
    assert options(unknown=[1], quality="", videoItag="", mode="", container="") == Options()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *product(["videoItag", "audioItag", "height", "fps", "bitrate"], [-1, 0, -(2**31), -(10**30)]),
        *product(["videoItag", "audioItag"], ["-1", " -1 ", "0"]),
        *product(["height", "fps", "bitrate"], [-0.5, -1e300]),
    ],
)
def test_what_does_not_apply_to_a_source_is_missing(name, value):
    assert cache_key("u", options(**{name: value}), None) == cache_key("u", Options(), None)


def test_takes_everything():
    found = options(
        mode="audio", quality="720p", format="MP4", container="webm", videoItag="137", audioItag=140, height=1080,
        fps=29.97, videoCodec="avc1.640028", audioCodec="opus", bitrate=128000, allowQualityFallback=False,
        audioPassthrough=True, sponsorBlock=True, sponsorBlockCategories=["sponsor", "intro", "sponsor"], thumbnailOnly=True,
        subtitles={"enabled": True, "auto": True, "embed": True, "languages": ["en", "pt-BR"], "format": "srt"},
    )  # fmt: skip
    assert found == Options(
        mode="audio", quality="720p", format="mp4", container="webm", video_itag=137, audio_itag=140, height=1080, fps=30,
        video_codec="avc1.640028", audio_codec="opus", bitrate=128000, allow_quality_fallback=False,
        audio_passthrough=True, sponsor_block=True, sponsor_block_categories=("intro", "sponsor"), thumbnail_only=True,
        subtitles=Subtitles(enabled=True, auto=True, embed=True, languages=("en", "pt-BR"), format="srt"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "film"), ("mode", 1), ("quality", "ultra"), ("quality", 720), ("format", {}), ("container", "a\x00b"),
        ("videoItag", "x"), ("videoItag", True), ("videoItag", "-x"), ("audioItag", 1.5), ("height", "tall"), ("height", "-1"),
        ("fps", True), ("fps", 1e300), ("bitrate", []), ("allowQualityFallback", "yes"), ("sponsorBlock", 1),
        ("sponsorBlockCategories", "sponsor"), ("sponsorBlockCategories", [1]), ("sponsorBlockCategories", ["x"] * 65),
        ("subtitles", []), ("subtitles", True),
    ],
)  # fmt: skip
def test_refuses_wrong_types_by_name(name, value):
    with pytest.raises(Refusal) as refused:
        options(**{name: value})
    assert refused.value.code == "invalid_options"
    assert refused.value.sentence.startswith((f"options.{name} takes", f"{name} takes"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("enabled", "yes"), ("languages", "en"), ("languages", ["../x"]), ("format", "ass"), ("embed", 0)],
)
def test_refuses_wrong_subtitles_by_name(name, value):
    with pytest.raises(Refusal, match=f"options.subtitles.{name} takes"):
        options(subtitles={name: value})


def test_a_callback_is_taken_beside_the_options_and_within_them():
    fields = {"callbackUrl": " https://hook.example/x ", "options": {}}
    assert validate.options(fields, ("hook.example",)).callback_url == "https://hook.example/x"
    assert validate.options({"options": fields}, ("hook.example",)).callback_url == "https://hook.example/x"
    assert validate.options({"callbackUrl": None, "options": {"callbackUrl": ""}}).callback_url is None


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example/x", "ftp://hook.example/x", "hook.example/x", "https://hook.example@evil.example/",
        "https://hook.example:x/", "https://evil.example\\@hook.example/", "https://hook.example/\r\nX: y",
        "https://hook.example/" + "x" * 8192, 3, True, 0, [], {},
    ],
)  # fmt: skip
@pytest.mark.parametrize("hosts", [(), ("hook.example",)])
def test_a_callback_elsewhere_is_refused_by_name(url, hosts):
    for fields, name in (
        ({"callbackUrl": url}, "callbackUrl"),
        ({"options": {"callbackUrl": url}}, "options.callbackUrl"),
    ):
        with pytest.raises(Refusal) as refused:
            validate.options(fields, hosts)
        assert refused.value.code == "invalid_options"
        assert refused.value.sentence.startswith(f"{name} takes")


@given(st.dictionaries(st.sampled_from([*NAMES, "other"]), ANYTHING))
def test_whatever_comes_is_taken_or_refused_with_a_sentence(fields):
    code, found = outcome(lambda: validate.options(json.loads(json.dumps({"options": fields}))))
    assert code in ("", "invalid_options")
    assert not found or cache_key("https://example.com", found, None)


@given(ANYTHING)
def test_whatever_is_sent_as_url_is_taken_or_refused(value):
    code, found = outcome(lambda: validate.url({"url": value}))
    assert code in ("", "invalid_url")
    assert not found or found.lower().startswith(("http://", "https://"))


def outcome(call):
    try:
        return "", call()
    except Refusal as refused:
        return refused.code, None


def test_equal_wishes_have_equal_keys():
    assert cache_key("u", options(subtitles={"enabled": False}), None) == cache_key("u", Options(), None)
    assert cache_key("u", options(mode="VIDEO"), None) == cache_key("u", Options(), None)
    one = cache_key("u", options(videoItag="137", sponsorBlockCategories=["b", "a"]), "Bearer x")
    assert one == cache_key("u", options(videoItag=137, sponsorBlockCategories=["a", "b"], height=0), "Bearer x")
    assert len({one, *(cache_key(*each) for each in [
        ("v", options(videoItag=137, sponsorBlockCategories=["a", "b"]), "Bearer x"),
        ("u", options(videoItag=138, sponsorBlockCategories=["a", "b"]), "Bearer x"),
        ("u", options(videoItag=137, sponsorBlockCategories=["a", "b"]), None),
        ("u", options(videoItag=137, sponsorBlockCategories=["a", "b"]), "Bearer y"),
    ])}) == 5  # fmt: skip
