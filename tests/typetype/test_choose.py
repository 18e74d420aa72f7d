import re

import pytest

from downloader.errors import NoStream
from downloader.handoff import Plan
from downloader.job import Options, Subtitles
from downloader.typetype.choose import Source, choose
from downloader.typetype.offer import Offer, Segment, Sponsored, Stream
from tests.typetype.offers import API, audio, muxed, subtitle, video, youtube

SOURCE = Source("https://example.test/watch", API)


def plan(offer: Offer, **options: object) -> Plan:
    return choose(offer, Options(**options), SOURCE)


def taken(offer: Offer, **options: object) -> tuple[object, ...]:
    resolved = plan(offer, **options).resolved
    return resolved.video_itag, resolved.audio_itag, resolved.container


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (137, 140, "mp4")),
        ({"container": "webm"}, (248, 251, "webm")),
        ({"format": "webm"}, (248, 251, "webm")),
        ({"container": "mp4", "format": "webm"}, (137, 140, "mp4")),
        ({"container": "mkv"}, (137, 251, "mkv")),
        ({"height": 720}, (136, 140, "mp4")),
        ({"height": 800}, (136, 140, "mp4")),
        ({"height": 2160}, (137, 140, "mp4")),
        ({"height": 2160, "container": "webm"}, (313, 251, "webm")),
        ({"height": 2160, "video_codec": "av1"}, (401, 140, "mp4")),
        ({"video_codec": "av01"}, (399, 140, "mp4")),
        ({"video_codec": "VP9"}, (248, 140, "mp4")),
        ({"audio_codec": "opus"}, (137, 251, "mp4")),
        ({"bitrate": 100_000}, (137, 139, "mp4")),
        ({"bitrate": 128_000}, (137, 140, "mp4")),
        ({"quality": "best", "container": "webm"}, (313, 251, "webm")),
        ({"quality": "balanced"}, (136, 140, "mp4")),
        ({"quality": "small"}, (134, 140, "mp4")),
        ({"quality": "720p"}, (136, 140, "mp4")),
        ({"quality": "360"}, (134, 140, "mp4")),
        ({"quality": "small", "height": 720}, (136, 140, "mp4")),
        ({"quality": "whatever"}, (137, 140, "mp4")),
        ({"video_itag": 134}, (134, 140, "mp4")),
        ({"video_itag": 401, "quality": "small"}, (401, 140, "mp4")),
        ({"video_itag": 248, "audio_itag": 251, "container": "webm"}, (248, 251, "webm")),
        ({"video_itag": 248, "audio_itag": 140, "container": "mp4"}, (248, 140, "mp4")),
        ({"audio_itag": 249}, (137, 249, "mp4")),
        ({"video_itag": 18}, (18, None, "mp4")),
    ],
)
def test_takes_the_pair_that_was_asked_for(options, expected):
    found = plan(youtube(), **options)
    assert (found.resolved.video_itag, found.resolved.audio_itag, found.resolved.container) == expected


@pytest.mark.parametrize(
    ("options", "warning", "expected"),
    [
        ({"video_itag": 999}, "Video itag 999 is not offered", (137, 140, "mp4")),
        ({"audio_itag": 999}, "Audio itag 999 is not offered", (137, 140, "mp4")),
        ({"video_codec": "h265"}, "No picture in h265", (137, 140, "mp4")),
        ({"audio_codec": "flac"}, "No sound in flac", (137, 140, "mp4")),
        ({"height": 144}, "Nothing of 144p or less is offered; the lowest is 360p", (134, 140, "mp4")),
        ({"quality": "100p"}, "Nothing of 100p", (134, 140, "mp4")),
        ({"video_itag": 18, "audio_itag": 140}, "Audio itag 140 cannot be taken", (18, None, "mp4")),
    ],
)
def test_the_nearest_with_a_warning_or_none_at_all(options, warning, expected):
    found = plan(youtube(), **options)
    assert any(warning in sentence for sentence in found.warnings)
    assert (found.resolved.video_itag, found.resolved.audio_itag, found.resolved.container) == expected
    with pytest.raises(NoStream, match=re.escape(warning)):
        plan(youtube(), allow_quality_fallback=False, **options)


def test_says_so_when_a_higher_picture_is_left_for_its_codec():
    assert plan(youtube(), height=2160).warnings == ("2160p is offered in vp9 only; h264 at 1080p was taken.",)


def test_a_default_limit_is_no_reason_to_refuse():
    offer = youtube(videos=(video(401, 2160),))
    assert taken(offer, allow_quality_fallback=False) == (401, 140, "mp4")


def test_words_of_quality_yield_to_what_there_is_even_without_fallback():
    offer = youtube(videos=(video(137, 1080),))
    assert taken(offer, quality="small", allow_quality_fallback=False) == (137, 140, "mp4")


def test_an_unnamed_container_follows_the_codec():
    assert taken(youtube(), video_codec="vp8")[2] == "webm"


def test_a_named_container_that_nothing_goes_into():
    offer = youtube(videos=(video(137, 1080),), muxed=())
    found = plan(offer, container="webm")
    assert found.resolved.container == "mp4"
    assert found.warnings == ("What was chosen does not go into webm; mp4 was made instead.",)
    with pytest.raises(NoStream, match="goes into webm"):
        plan(offer, container="webm", allow_quality_fallback=False)


@pytest.mark.parametrize("name", ["avi", "mp3", "../../etc"])
def test_a_container_that_is_none_for_video(name):
    found = plan(youtube(), container=name)
    assert found.resolved.container == "mp4"
    assert "container cannot be made of video" in found.warnings[0]


@pytest.mark.parametrize(("fps", "expected"), [(None, 60), (60, 60), (30, 30), (24, 30), (50, 60)])
def test_the_frame_rate_nearest_to_the_wish(fps, expected):
    offer = youtube(videos=(video(1, 1080, fps=30, bitrate=9_000_000), video(2, 1080, fps=60)))
    made = plan(offer, fps=fps)
    assert made.resolved.fps == expected
    said = () if fps in (None, expected) else (f"Not offered at {fps} frames a second; {expected} were taken.",)
    assert made.warnings == said


def test_unknown_codec_and_length_stay_eligible():
    offer = youtube(videos=(video(1, 360), video(2, 1080, None, size=None)))
    assert taken(offer)[0] == 2


def test_the_preferred_track_then_the_original():
    tracks = [
        audio(140, track_id="fr", url="https://m.test/fr", bitrate=500_000),
        audio(140, track_id="de", url="https://m.test/de"),
        audio(140, track_id="en", url="https://m.test/en", is_original=True),
    ]
    preferred = youtube(audios=tuple(tracks), preferred_track_id="de", original_track_id="en")
    assert plan(preferred).tracks[1].audio_track_id == "de"
    assert plan(youtube(audios=tuple(tracks), original_track_id="en")).tracks[1].audio_track_id == "en"
    assert plan(youtube(audios=tuple(tracks))).tracks[1].audio_track_id == "en"
    assert plan(youtube(audios=tuple(tracks[:2]), original_track_id="de")).tracks[1].audio_track_id == "de"


def test_the_right_language_comes_before_the_usual_codec():
    tracks = (audio(140, track_id="fr"), audio(251, "opus", track_id="en", is_original=True))
    assert taken(youtube(audios=tracks)) == (137, 251, "mp4")


def test_sabr_goes_with_aac_into_mp4():
    sabr = {"transport": "sabr", "url": f"{API}/sabr/download/abc"}
    offer = youtube(
        videos=(video(248, 1080, "vp9", **sabr), video(137, 1080, **sabr)),
        audios=(audio(251, "opus", 160_000, **sabr), audio(140, **sabr)),
    )
    assert taken(offer) == (137, 140, "mp4")
    assert taken(offer, container="webm") == (248, 140, "mp4")
    picture, sound = plan(offer).tracks[:2]
    assert (picture.transport, picture.url, picture.proxy_url) == ("sabr", f"{API}/sabr/download/abc", None)
    assert (sound.itag, sound.audio_only) == (140, False)
    alone = plan(offer, mode="audio").tracks[0]
    assert (alone.transport, alone.itag, alone.audio_only) == ("sabr", 140, True)


def test_ranges_before_sabr_when_all_else_is_equal():
    sabr = video(137, 1080, transport="sabr", url=f"{API}/sabr/download/abc")
    offer = youtube(videos=(sabr, video(137, 1080)))
    assert plan(offer).tracks[0].transport == "ranges"


def test_a_stream_with_sound_when_there_is_no_pair():
    found = plan(youtube(videos=()))
    assert [track.key for track in found.tracks] == ["muxed"]
    assert found.resolved.video_itag == 22
    assert plan(youtube(audios=())).resolved.video_itag == 22


def test_a_silent_video_is_better_than_none():
    found = plan(youtube(audios=(), muxed=()))
    assert [track.key for track in found.tracks] == ["video"]
    assert found.warnings == ("The source offers no sound; the video is silent.",)


def test_hls_when_there_is_nothing_else():
    found = plan(Offer(title="t", hls_url="https://m.test/a.m3u8", duration=10.0), height=720)
    assert [(t.key, t.transport, t.url, t.height) for t in found.tracks] == [
        ("muxed", "hls", "https://m.test/a.m3u8", 720)
    ]
    assert found.resolved.height is None
    variant = Stream(kind="muxed", transport="hls", url="https://m.test/b.m3u8", height=1080)
    assert plan(youtube(videos=(), muxed=(variant, muxed(18, 360)))).resolved.video_itag == 18


def test_sound_when_there_is_no_picture():
    found = plan(Offer(title="t", audios=(audio(140),)))
    assert (found.resolved.container, found.warnings) == (
        "m4a",
        ("The source offers no picture; its sound was taken.",),
    )
    with pytest.raises(NoStream):
        plan(Offer(title="t", audios=(audio(140),)), allow_quality_fallback=False)


@pytest.mark.parametrize("mode", ["video", "audio", "thumbnail"])
def test_nothing_offered_is_no_stream(mode):
    with pytest.raises(NoStream):
        plan(Offer(title="t"), mode=mode)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (140, "copy", "m4a", None)),
        ({"format": "mp4"}, (140, "copy", "m4a", None)),
        ({"format": "webm"}, (251, "copy", "webm", None)),
        ({"format": "ogg"}, (251, "copy", "ogg", None)),
        ({"format": "opus"}, (251, "copy", "opus", None)),
        ({"audio_codec": "opus"}, (251, "copy", "webm", None)),
        ({"audio_passthrough": True}, (251, "copy", "webm", None)),
        ({"audio_passthrough": True, "audio_codec": "aac"}, (140, "copy", "m4a", None)),
        ({"format": "mp3"}, (251, "transcode", "mp3", "mp3")),
        ({"format": "flac"}, (251, "transcode", "flac", "flac")),
        ({"format": "wav"}, (251, "transcode", "wav", "pcm_s16le")),
        ({"audio_itag": 249}, (249, "copy", "webm", None)),
        ({"audio_itag": 249, "format": "m4a"}, (249, "transcode", "m4a", "aac")),
        ({"bitrate": 60_000}, (139, "copy", "m4a", None)),
    ],
)
def test_sound_alone(options, expected):
    found = plan(youtube(), mode="audio", **options)
    media = found.media
    assert (found.resolved.audio_itag, media.operation, media.container, media.audio_codec) == expected
    assert found.tracks[0].key == "audio"


def test_a_transcode_takes_the_best_source_and_the_bitrate_for_its_output():
    found = plan(youtube(), mode="audio", format="mp3", bitrate=96_000)
    assert (found.tracks[0].itag, found.media.bitrate, found.resolved.bitrate) == (251, 96_000, 96_000)


def test_mp3_is_copied_unless_it_must_shrink():
    offer = Offer(title="t", audios=(audio(1, "mp3", 320_000),))
    assert plan(offer, mode="audio", format="mp3").media.operation == "copy"
    assert plan(offer, mode="audio", format="mp3", bitrate=128_000).media.operation == "transcode"


def test_sound_out_of_a_stream_with_picture():
    found = plan(youtube(audios=(), videos=()), mode="audio")
    assert ([track.key for track in found.tracks], found.media.container) == (["muxed"], "m4a")


@pytest.mark.parametrize("options", [{"mode": "thumbnail"}, {"thumbnail_only": True}])
def test_a_thumbnail(options):
    found = plan(youtube(thumbnail_url="https://m.test/t.webp"), **options)
    assert (found.media.operation, found.media.container, found.resolved.file_name) == ("image", "jpg", "A title.jpg")
    assert [(track.key, track.kind, track.optional) for track in found.tracks] == [("cover", "image", False)]


@pytest.mark.parametrize(("container", "covered"), [("mp4", True), ("mkv", True), ("webm", False)])
def test_cover_art_where_the_container_holds_it(container, covered):
    found = plan(youtube(thumbnail_url="https://m.test/t.jpg"), container=container)
    assert ("cover" in [track.key for track in found.tracks if track.optional]) is covered


@pytest.mark.parametrize(
    ("languages", "auto", "expected"),
    [
        (("en",), False, ["en-US"]),
        (("en-US",), False, ["en-US"]),
        (("en-us",), False, ["en-US"]),
        (("de-AT",), False, ["de"]),
        (("de", "en"), False, ["de", "en-US"]),
        (("en", "en-US"), False, ["en-US"]),
        (("fr",), False, []),
        (("fr",), True, ["fr"]),
        (("en",), True, ["en-US"]),
        (("pt",), True, []),
        ((), False, ["de", "en-US"]),
        ((), True, ["de", "en-US", "fr"]),
    ],
)
def test_subtitles(languages, auto, expected):
    offered = (subtitle("en", auto=True), subtitle("en-US"), subtitle("fr", auto=True), subtitle("de"))
    wanted = Subtitles(enabled=True, auto=auto, languages=languages)
    found = plan(youtube(subtitles=offered), subtitles=wanted)
    tracks = [track for track in found.tracks if track.kind == "subtitle"]
    assert [track.language for track in tracks] == expected
    assert [track.key for track in tracks] == [f"sub-{name}-{number}" for number, name in enumerate(expected)]
    assert bool(found.warnings) is (languages != () and not expected)
    assert found.media.subtitles == ("sidecar" if expected else "none")


def test_subtitles_nearer_come_first():
    offered = (subtitle("en-GB"), subtitle("en"), subtitle("en-US"))
    found = plan(youtube(subtitles=offered), subtitles=Subtitles(enabled=True, languages=("en",), embed=True))
    assert [track.language for track in found.tracks if track.kind == "subtitle"] == ["en"]
    assert found.media.subtitles == "embed"


def test_subtitles_that_are_not_asked_for_are_not_taken():
    found = plan(youtube(subtitles=(subtitle("en"),)), subtitles=Subtitles(languages=("en",)))
    assert all(track.kind != "subtitle" for track in found.tracks)
    assert found.warnings == ()


def test_sponsorblock_cuts_what_was_chosen():
    offer = youtube(
        sponsored=(
            Sponsored(40.0, 50.0, "sponsor", "skip"),
            Sponsored(10.0, 20.0, "sponsor", "skip"),
            Sponsored(15.0, 25.0, "sponsor", "skip"),
            Sponsored(60.0, 70.0, "intro", "skip"),
            Sponsored(80.0, 90.0, "sponsor", "mute"),
            Sponsored(95.0, 300.0, "sponsor", "skip"),
        )
    )
    cuts = plan(offer, sponsor_block=True).media.cuts
    assert [(cut.start, cut.end) for cut in cuts] == [(10.0, 25.0), (40.0, 50.0), (95.0, 100.0)]
    chosen = plan(offer, sponsor_block=True, sponsor_block_categories=("Intro",)).media.cuts
    assert [(cut.start, cut.end) for cut in chosen] == [(60.0, 70.0)]
    none = plan(offer, sponsor_block=True, sponsor_block_categories=("outro",))
    assert (none.media.cuts, none.warnings) == ((), ("SponsorBlock has nothing to cut out of this source.",))
    assert plan(offer).media.cuts == ()


def test_a_source_that_is_all_sponsor_is_not_cut_to_nothing():
    found = plan(youtube(sponsored=(Sponsored(0.0, 100.0, "sponsor", "skip"),)), sponsor_block=True)
    assert found.media.cuts == ()
    assert "cover the whole source" in found.warnings[0]


def test_chapters_and_tags():
    offer = youtube(
        chapters=(Segment("B", 50.0), Segment("A", 0.0), Segment("late", 100.0), Segment("", 70.0)),
        uploader="Someone",
        upload_date="2026-01-02T03:04:05Z",
        description="Words",
    )
    media = plan(offer).media
    assert [(chapter.title, chapter.start) for chapter in media.chapters] == [
        ("A", 0.0),
        ("B", 50.0),
        ("Chapter 3", 70.0),
    ]
    assert (media.title, media.artist, media.date, media.description) == ("A title", "Someone", "2026-01-02", "Words")
    assert (media.source_url, media.duration_s) == (SOURCE.url, 100.0)
    assert plan(youtube(upload_date="3 days ago")).media.date == ""


def test_the_proxy_serves_the_same_bytes():
    offer = youtube(
        videos=(video(137, 1080, url="https://dmc.nicovideo.jp/v?a=1#cookie=x"),),
        audios=(audio(140, url=f"{API}/proxy?url=x"),),
    )
    picture, sound = plan(offer).tracks
    assert picture.proxy_url == f"{API}/proxy/nicovideo?url=https%3A%2F%2Fdmc.nicovideo.jp%2Fv%3Fa%3D1%23cookie%3Dx"
    assert sound.proxy_url is None


def test_disk_is_reserved_for_tracks_and_output():
    assert plan(youtube()).reserve_bytes == 2_310_000
    unknown = youtube(videos=(video(137, 1080, size=None, bitrate=8_000_000),))
    assert plan(unknown).reserve_bytes == int(2.1 * (100_000_000 + 100_000))
    assert plan(youtube(), mode="audio", format="wav").reserve_bytes == int(1.1 * (100_000 + 19_200_000))
