"""Fragmented MP4 is spliced: the file is what FFmpeg's own copy would have been, packet for packet."""

import shutil
from collections.abc import Callable
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from downloader.handoff import Chapter, FetchedTrack, Media, Muxed
from downloader.mux import extras, formats, index, remux, sink
from downloader.mux.boxes import Unsuited
from downloader.mux.task import Task
from tests.media import make_audio, make_image, make_muxed, make_video
from tests.mux.broken import patched, retimed
from tests.mux.conftest import fetched
from tests.mux.packets import digests, opened, samples
from tests.mux.test_mp4 import boxes

MP4 = Media(operation="copy", container="mp4")
DELAYED = {"movflags": "frag_keyframe+delay_moov+default_base_moof"}  # with the edit lists of their streams
ABSOLUTE = {"movflags": "frag_keyframe+empty_moov+omit_tfhd_offset"}
EVERY_FRAME = {"movflags": "frag_every_frame+empty_moov+default_base_moof"}


def both(tmp_path: Path, media: Media, *tracks: FetchedTrack) -> tuple[Path, Path]:
    """The file as it is spliced, and as it is copied packet by packet."""
    made = []
    for name in ("spliced", "copied"):
        path = tmp_path / f"{name}.mp4"
        along = extras.load(tmp_path, tracks, media)
        task = Task(tmp_path, path, tracks, media, along, lambda done, total: None)
        if name == "spliced":
            outcome = remux._spliced(task)
        else:
            assert remux._copied(task, remux._Cutting(), in_front=True).seconds == pytest.approx(outcome.seconds)
        made.append(path)
    return made[0], made[1]


def described(path: Path) -> list[dict[str, Any]]:
    """What a player is told of the file; the rate of subtitles (btrt) counts FFmpeg's empty ones."""
    with opened(path) as source:
        streams = [
            {
                "type": stream.type,
                "tag": stream.codec_context.codec_tag if stream.codec_context else None,
                "extradata": (stream.codec_context.extradata or b"").split(b"btrt")[0]
                if stream.codec_context
                else None,
                "start": stream.start_time,
                "length": stream.duration,
                "pictures": stream.average_rate if stream.type == "video" else None,
                "size": (stream.width, stream.height) if stream.type == "video" else None,
                "language": stream.metadata.get("language"),
                "disposition": stream.disposition,
            }
            for stream in source.streams
        ]
        return [*streams, {"tags": dict(source.metadata), "chapters": source.chapters(), "length": source.duration}]


def rewritten(path: Path, options: dict[str, str]) -> Path:
    """The same packets in fragments of another kind."""
    made = path.with_name(f"again-{path.name}")
    with av.open(str(path)) as old, av.open(str(made), "w", format="mp4", options=options) as new:
        stream = old.streams[0]
        target = new.add_stream_from_template(stream, opaque=True)
        for packet in old.demux(stream):
            if packet.size:
                packet.stream = target
                new.mux_one(packet)
    return made


@pytest.mark.parametrize("options", [None, DELAYED, ABSOLUTE, EVERY_FRAME], ids=["plain", "edits", "offsets", "frames"])
@pytest.mark.parametrize("codec", ["h264", "h264-bframes", "av1", "vp9"])
def test_what_is_spliced_is_what_is_copied(tmp_path: Path, codec: str, options: dict[str, str] | None) -> None:
    video = make_video(tmp_path / "v.mp4", 5, (160, 90), codec=codec, fps=25)
    audio = make_audio(tmp_path / "a.m4a", 5)
    if options:
        video, audio = rewritten(video, options), rewritten(audio, options)

    spliced, copied = both(tmp_path, MP4, fetched(video, "video"), fetched(audio, "audio", language="en"))

    for kind in ("video", "audio"):
        assert samples(spliced, kind) == samples(copied, kind)
    assert digests(spliced, "video") == digests(video, "video")
    assert digests(spliced, "audio") == digests(audio, "audio")
    if codec != "vp9":  # of which FFmpeg's copy makes the last picture one tick long
        assert described(spliced) == described(copied)
    assert [kind for kind, _ in boxes(spliced)] == ["ftyp", "moov", "mdat"]


@pytest.mark.parametrize(("picture", "sound"), [(0, 24000), (5 * 90000, 0), (0, 0), (3_600_000, 48000 * 4000)])
def test_tracks_that_begin_late_stay_in_time(tmp_path: Path, picture: int, sound: int) -> None:
    video = retimed(make_video(tmp_path / "v.mp4", 5, (160, 90), fps=25), tmp_path / "vv.mp4", "mp4", lambda _: picture)
    audio = retimed(make_audio(tmp_path / "a.m4a", 5), tmp_path / "aa.mp4", "mp4", lambda _: sound)
    video, audio = rewritten(video, DELAYED), rewritten(audio, DELAYED)

    spliced, copied = both(tmp_path, MP4, fetched(video, "video"), fetched(audio, "audio"))

    for kind in ("video", "audio"):
        assert samples(spliced, kind) == samples(copied, kind)
    assert described(spliced) == described(copied)


def test_a_pause_between_fragments_is_kept(tmp_path: Path) -> None:
    source = make_video(tmp_path / "v.mp4", 4, (160, 90), fps=25, gop=25)
    with av.open(str(source)) as opened_source:
        rate = opened_source.streams[0].time_base.denominator
    late = retimed(source, tmp_path / "late.mp4", "mp4", lambda number: 3 * rate * (number >= 50))
    video = rewritten(late, DELAYED)

    spliced, copied = both(tmp_path, MP4, fetched(video, "video"))

    assert samples(spliced, "video") == samples(copied, "video")
    assert samples(spliced, "video")[50].pts - samples(spliced, "video")[49].pts == pytest.approx(3.04)


def test_all_that_goes_along_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "en.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nHello\n\n00:03.000 --> 00:04.500\nthere\n")
    tracks = (
        fetched(make_video(tmp_path / "v.mp4", 6, (160, 90), fps=25), "video"),
        fetched(make_audio(tmp_path / "a.m4a", 6), "audio", language="de"),
        fetched(make_image(tmp_path / "cover.jpg"), "image"),
        fetched(tmp_path / "en.vtt", "subtitle", language="en", title="English"),
    )
    media = Media(
        operation="copy",
        container="mp4",
        title="A title: «ünïcode» 🎬",
        artist="Someone",
        date="20260102",
        description="Several\nlines",
        source_url="https://media.test/watch?v=1",
        subtitles="embed",
        chapters=(Chapter("One", 0.0), Chapter("Two", 2.5)),
    )

    spliced, copied = both(tmp_path, media, *tracks)

    for kind in ("video", "audio"):
        assert samples(spliced, kind) == samples(copied, kind)
    # FFmpeg writes an empty subtitle wherever the other tracks are ahead of them.
    lasting = [[cue for cue in samples(path, "subtitle") if cue.duration] for path in (spliced, copied)]
    assert lasting[0] == lasting[1]
    assert len(lasting[0]) == 4
    assert described(spliced) == described(copied)
    assert [stream["type"] for stream in described(spliced)[:-1]] == ["video", "audio", "subtitle", "data", "video"]


def test_sound_alone_is_spliced_into_m4a(tmp_path: Path) -> None:
    audio = make_audio(tmp_path / "a.m4a", 5)

    spliced, copied = both(tmp_path, Media(operation="copy", container="m4a", title="T"), fetched(audio, "audio"))

    assert samples(spliced, "audio") == samples(copied, "audio")
    assert described(spliced) == described(copied)
    assert spliced.read_bytes()[8:12] == b"M4A "


def test_picture_and_sound_lie_side_by_side(tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4", 20, (160, 90), fps=25, gop=250)  # fragments of ten seconds
    audio = rewritten(make_audio(tmp_path / "a.m4a", 20), {"movflags": "empty_moov+default_base_moof"})

    spliced, _ = both(tmp_path, MP4, fetched(video, "video"), fetched(audio, "audio"))

    with opened(spliced) as source:
        packets = sorted(
            (packet.pos, packet.stream_index, float(packet.dts * packet.time_base))
            for packet in source.demux()
            if packet.size
        )
    changes = [(before[2], after[2]) for before, after in pairwise(packets) if before[1] != after[1]]
    assert len(changes) > 70
    assert all(abs(before - after) < 0.6 for before, after in changes)


@pytest.mark.parametrize("what", ["hevc", "opus", "index", "two tracks", "webm"])
def test_what_cannot_be_spliced_is_copied(mux: Callable[..., Muxed], tmp_path: Path, what: str) -> None:
    path, kind = {
        "hevc": lambda: (make_video(tmp_path / "t.mp4", 3, (160, 90), codec="hevc"), "video"),  # hev1, to become hvc1
        "opus": lambda: (make_audio(tmp_path / "t.m4a", 3, "opus"), "audio"),
        "index": lambda: (make_video(tmp_path / "t.mp4", 3, (160, 90), fragmented=False), "video"),
        "two tracks": lambda: (make_muxed(tmp_path / "t.mp4", 3, (160, 90), fragmented=True), "muxed"),
        "webm": lambda: (make_video(tmp_path / "t.webm", 3, (160, 90)), "video"),
    }[what]()
    track = fetched(path, kind)
    task = Task(tmp_path, tmp_path / "no.mp4", (track,), MP4, extras.load(tmp_path, (track,), MP4), lambda *_: None)

    with pytest.raises(Unsuited):
        remux._spliced(task)
    assert not task.path.exists()

    made = mux(MP4, track)

    stream = "audio" if kind == "audio" else "video"
    assert digests(tmp_path / made.main.path, stream) == digests(path, stream)


@pytest.mark.parametrize(("at", "new"), [(4 + 6, b"\0\2"), (0, b"mp4v")], ids=["reference", "codec"])
def test_descriptions_that_are_not_taken_over(tmp_path: Path, at: int, new: bytes) -> None:
    video = make_video(tmp_path / "v.mp4", 2, (64, 64))
    patched(video, video.read_bytes().index(b"avc1", 40) + at, new)
    track = fetched(video, "video")
    task = Task(tmp_path, tmp_path / "no.mp4", (track,), MP4, extras.load(tmp_path, (track,), MP4), lambda *_: None)

    with pytest.raises(Unsuited):
        remux._spliced(task)


def test_another_file_than_its_index_says_is_not_spliced(tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4", 3, (160, 90))
    other = make_video(tmp_path / "w.mp4", 3, (320, 180))
    track = fetched(video, "video")
    task = Task(tmp_path, tmp_path / "no.mp4", (track,), MP4, extras.load(tmp_path, (track,), MP4), lambda *_: None)
    container = formats.container("mp4")

    from downloader.mux import splice
    from downloader.mux.sources import gathered

    with splice.parts(task, container) as found:
        shutil.copyfile(other, video)
        with gathered(tmp_path, (track,), picture=True) as sources, pytest.raises(Unsuited):
            splice.spliced(task, container, sources, found, 3.0)


def test_a_frame_is_small(tmp_path: Path) -> None:
    file = BytesIO()
    container = formats.container("mp4")
    with (
        opened(make_video(tmp_path / "v.mp4", 2, (160, 90))) as source,
        sink.created(file, container, Media("copy", "mp4", title="T")) as output,
    ):
        sink.add_copy(output, source.streams[0], container)
        output.start_encoding()

    around = index.frame(file.getvalue())

    assert (around.tracks, around.media, around.chapters) == ((), b"", None)
    assert b"\xa9nam" in around.udta
