"""What holds of every choice: it is stable, within limits, and never worse than another that was allowed."""

from dataclasses import dataclass
from typing import Any

import msgspec
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from downloader.errors import NoStream
from downloader.handoff import Plan
from downloader.job import Options
from downloader.typetype.choose import Source, choose
from downloader.typetype.codecs import COPYABLE
from downloader.typetype.offer import Offer, Stream
from tests.typetype.offers import API, FAMILIES, SOUNDS, audio, muxed, video

HEIGHTS = st.sampled_from([None, 144, 360, 480, 720, 1080, 1440, 2160])
RATES = st.sampled_from([None, 48_000, 64_000, 128_000, 160_000, 1_000_000])
SIZES = st.sampled_from([None, 10_000, 1_000_000])
TRANSPORTS = st.sampled_from(["ranges", "ranges", "sabr", "hls"])
TRACKS = st.sampled_from([None, "en", "de"])
SOURCE = Source("https://e.test/", API)


@st.composite
def videos(draw: Any) -> list[Stream]:
    count = draw(st.integers(0, 6))
    return [
        video(
            number,
            draw(HEIGHTS),
            draw(st.sampled_from([None, *FAMILIES])),
            bitrate=draw(RATES),
            size=draw(SIZES),
            fps=draw(st.sampled_from([None, 24, 30, 60])),
            transport=draw(TRANSPORTS),
        )
        for number in range(1, count + 1)
    ]


@st.composite
def audios(draw: Any) -> list[Stream]:
    count = draw(st.integers(0, 5))
    return [
        audio(
            number,
            draw(st.sampled_from([None, *SOUNDS])),
            draw(RATES),
            size=draw(SIZES),
            track_id=draw(TRACKS),
            transport=draw(TRANSPORTS),
        )
        for number in range(101, 101 + count)
    ]


@st.composite
def offers(draw: Any) -> Offer:
    heights = draw(st.lists(st.sampled_from([360, 720]), max_size=2))
    return Offer(
        title="t",
        duration=10.0,
        videos=tuple(draw(videos())),
        audios=tuple(draw(audios())),
        muxed=tuple(muxed(200 + number, height) for number, height in enumerate(heights)),
        hls_url=draw(st.sampled_from([None, "https://m.test/a.m3u8"])),
        preferred_track_id=draw(TRACKS),
        original_track_id=draw(TRACKS),
    )


OPTIONS = st.builds(
    Options,
    mode=st.sampled_from(["video", "video", "audio"]),
    quality=st.sampled_from([None, "best", "balanced", "small", "480p"]),
    container=st.sampled_from([None, "mp4", "webm", "mkv", "mp3", "m4a", "opus", "wav"]),
    height=st.sampled_from([None, 360, 720, 2160]),
    fps=st.sampled_from([None, 30, 60]),
    video_codec=st.sampled_from([None, None, "h264", "vp9", "av1"]),
    audio_codec=st.sampled_from([None, None, "aac", "opus"]),
    video_itag=st.sampled_from([None, None, None, 1, 2, 999]),
    audio_itag=st.sampled_from([None, None, None, 101, 999]),
    bitrate=st.sampled_from([None, 64_000, 130_000]),
    allow_quality_fallback=st.booleans(),
    audio_passthrough=st.booleans(),
)


@dataclass
class Chosen:
    """A plan with the streams behind its tracks."""

    plan: Plan
    video: Stream | None
    audio: Stream | None


def chosen(offer: Offer, options: Options) -> Chosen:
    try:
        plan = choose(offer, options, SOURCE)
    except NoStream:
        assume(False)
        raise
    by_itag = {stream.itag: stream for stream in (*offer.videos, *offer.audios, *offer.muxed)}
    by_kind = {track.kind: by_itag.get(track.itag) for track in plan.tracks}
    return Chosen(plan, by_kind.get("video") or by_kind.get("muxed"), by_kind.get("audio"))


@settings(max_examples=200, deadline=None)
@given(offers(), OPTIONS, st.randoms(use_true_random=False))
def test_the_order_of_the_lists_does_not_matter(offer, options, random):
    shuffled = msgspec.structs.replace(
        offer,
        **{
            name: tuple(random.sample(getattr(offer, name), len(getattr(offer, name))))
            for name in ("videos", "audios", "muxed")
        },
    )

    def outcome(given: Offer) -> object:
        try:
            return choose(given, options, SOURCE)
        except NoStream as error:
            return error.message

    assert outcome(shuffled) == outcome(offer)


@settings(max_examples=200, deadline=None)
@given(offers(), OPTIONS)
def test_a_plan_can_be_carried_out(offer, options):
    plan = chosen(offer, options).plan
    keys = [track.key for track in plan.tracks]
    assert sorted(keys) in (["audio", "video"], ["audio"], ["muxed"], ["video"])
    assert plan.media.container in COPYABLE
    assert plan.resolved.file_name == f"t.{plan.media.container}"
    if plan.media.operation == "copy":
        families = [FAMILIES.get(track.codec or "") or SOUNDS.get(track.codec or "") for track in plan.tracks]
        assert all(name is None or name in COPYABLE[plan.media.container] for name in families)
    else:
        assert plan.media.audio_codec is not None


@settings(max_examples=200, deadline=None)
@given(offers(), OPTIONS)
def test_with_fallback_there_is_always_a_plan(offer, options):
    assume(offer.videos or offer.audios or offer.muxed or offer.hls_url)
    assume(options.mode == "video" or offer.audios or offer.muxed or offer.hls_url)
    choose(offer, msgspec.structs.replace(options, allow_quality_fallback=True), SOURCE)


@settings(max_examples=200, deadline=None)
@given(offers(), OPTIONS)
def test_without_fallback_what_is_named_is_taken(offer, options):
    found = chosen(offer, msgspec.structs.replace(options, mode="video", allow_quality_fallback=False))
    if found.video is None:
        return
    if options.video_itag is not None:
        assert found.video.itag == options.video_itag
    else:
        if options.height:
            assert (found.video.height or 0) <= options.height
        if options.video_codec:
            assert found.video.video_family in (None, options.video_codec)
    if found.audio and options.audio_itag is not None:
        assert found.audio.itag == options.audio_itag
    elif found.audio and options.audio_codec:
        assert found.audio.audio_family in (None, options.audio_codec)


@settings(max_examples=250, deadline=None)
@given(offers(), OPTIONS)
def test_the_picture_is_within_limits_and_none_better_was_allowed(offer, options):
    options = msgspec.structs.replace(options, mode="video", video_itag=None, height=720, quality=None)
    found = chosen(offer, options)
    video = found.video
    assume(video is not None)
    peers = offer.videos if video.kind == "video" else offer.muxed
    same_way = [s for s in peers if (s.transport == "hls") == (video.transport == "hls")]
    within = [s for s in same_way if (s.height or 0) <= 720 and s.video_family == video.video_family]
    if (video.height or 0) > 720:
        assert not within
        return
    assert (video.height or 0) == max(s.height or 0 for s in within)
    level = [s for s in within if s.height == video.height and s.fps == video.fps and s.format == video.format]
    assert (video.bitrate or 0) == max(s.bitrate or 0 for s in level)


@settings(max_examples=250, deadline=None)
@given(offers(), OPTIONS)
def test_the_sound_is_of_the_right_track_and_none_better_was_allowed(offer, options):
    options = msgspec.structs.replace(
        options, audio_itag=None, container=None, audio_codec=None, audio_passthrough=False
    )
    found = chosen(offer, options)
    audio_stream = found.audio
    assume(audio_stream is not None)
    if found.video and found.video.transport == "sabr" and any(s.transport == "sabr" for s in offer.audios):
        assert audio_stream.transport == "sabr"
        offer = msgspec.structs.replace(offer, audios=tuple(s for s in offer.audios if s.transport == "sabr"))
    same_way = [s for s in offer.audios if (s.transport == "hls") == (audio_stream.transport == "hls")]
    peers = [s for s in same_way if s.audio_family == audio_stream.audio_family and s.format == audio_stream.format]
    preferred = [s for s in peers if s.track_id and s.track_id == offer.preferred_track_id]
    if preferred:
        assert audio_stream in preferred
    rivals = [s for s in peers if s.track_id == audio_stream.track_id]
    below = [s.bitrate for s in rivals if s.bitrate and options.bitrate and s.bitrate <= options.bitrate]
    assert (audio_stream.bitrate or 0) == (max(below) if below else max(s.bitrate or 0 for s in rivals))
