import json

import msgspec
import pytest

from downloader.config import Settings
from downloader.job import Options
from downloader.typetype.choose import Source, choose
from downloader.typetype.refresh import equal_track, refresh_track
from tests.typetype.conftest import reply
from tests.typetype.jobs import job
from tests.typetype.offers import API, audio, subtitle, video, youtube

TRACKS = choose(youtube(thumbnail_url="https://m.test/t.jpg"), Options(), Source("https://e.test/", API)).tracks
PICTURE, SOUND, COVER = TRACKS


def test_the_same_object_under_a_fresh_link():
    fresh = youtube(videos=(video(136, 720), video(137, 1080, url="https://m.test/v137?fresh=1")))
    found = equal_track(PICTURE, fresh, API)
    assert found == msgspec.structs.replace(
        PICTURE, url="https://m.test/v137?fresh=1", proxy_url=f"{API}/proxy?url=https%3A%2F%2Fm.test%2Fv137%3Ffresh%3D1"
    )


@pytest.mark.parametrize(
    "other",
    [
        video(137, 1080, size=999),
        video(136, 1080),
        video(137, 1080, transport="sabr"),
        video(137, 1080, track_id="de"),
    ],
    ids=["size", "itag", "transport", "track"],
)
def test_another_object_is_none(other):
    assert equal_track(PICTURE, youtube(videos=(other,)), API) is None


def test_a_size_that_was_unknown_is_learned():
    unknown = msgspec.structs.replace(PICTURE, size=None)
    found = equal_track(unknown, youtube(), API)
    assert found is not None
    assert found.size == 1_000_000
    still = equal_track(PICTURE, youtube(videos=(video(137, 1080, size=None),)), API)
    assert still is not None
    assert still.size == 1_000_000


def test_the_language_track_stays():
    tracks = (audio(140, track_id="de", url="https://m.test/de"), audio(140, track_id="en", url="https://m.test/en"))
    found = equal_track(msgspec.structs.replace(SOUND, audio_track_id="en"), youtube(audios=tracks), API)
    assert found is not None
    assert found.url == "https://m.test/en"


@pytest.mark.parametrize(("url", "same"), [("https://m.test/v137?fresh=1", True), ("https://m.test/other", False)])
def test_without_an_itag_the_path_tells(url, same):
    anonymous = msgspec.structs.replace(video(137, 1080, url=url), itag=None)
    found = equal_track(msgspec.structs.replace(PICTURE, itag=None), youtube(videos=(anonymous,)), API)
    assert (found is not None) is same


def test_covers_and_subtitles():
    found = equal_track(COVER, youtube(thumbnail_url="https://m.test/new.jpg"), API)
    assert found is not None
    assert found.url == "https://m.test/new.jpg"
    assert equal_track(COVER, youtube(), API) is None
    text = msgspec.structs.replace(COVER, kind="subtitle", language="en", auto_generated=False)
    offer = youtube(subtitles=(subtitle("en", auto=True), subtitle("en")))
    again = equal_track(text, offer, API)
    assert again is not None
    assert again.url == subtitle("en").url


def test_asks_the_server_again(server):
    stream = {"url": "https://m.test/fresh", "itag": 137, "height": 1080, "contentLength": 1_000_000}
    server.answers = [reply(200, json.dumps({"videoOnlyStreams": [stream]}).encode())]
    found = refresh_track(Settings(typetype_api_base=server.base), job(), PICTURE, "Bearer x", lambda: None)
    assert found is not None
    assert found.url == "https://m.test/fresh"
    assert "Authorization: Bearer x" in server.heads[0]
