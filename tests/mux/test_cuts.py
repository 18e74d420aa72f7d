"""SponsorBlock cuts: picture resumes at key frames, everything decodes, sound matches, no gaps, all else is moved."""

from array import array
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.handoff import Chapter, Cut, Media, Muxed
from downloader.mux.cuts import PictureGate, Survey, snap
from downloader.mux.timeline import without
from tests.media import make_audio, make_muxed, make_video
from tests.mux.conftest import fetched
from tests.mux.packets import digests, opened, samples

SPONSOR = (Cut(start=3.0, end=6.9, category="sponsor"),)


def decoded(path: Path, kind: str) -> list[float]:
    """The times of all frames, decoded with errors being errors."""
    with opened(path) as source:
        stream = next(s for s in source.streams if s.type == kind)
        stream.codec_context.options = {"err_detect": "explode"}
        return [float(frame.pts * frame.time_base) for frame in source.decode(stream)]


@pytest.mark.parametrize("codec", ["h264", "h264-bframes", "hevc", "av1", "vp9"])
def test_the_picture_resumes_at_the_nearest_key_frame(mux: Callable[..., Muxed], tmp_path: Path, codec: str) -> None:
    name = "v.webm" if codec == "vp9" else "v.mp4"
    video = make_video(tmp_path / name, 12, (160, 90), codec=codec)
    audio = make_audio(tmp_path / "a.m4a", 12)

    made = mux(
        Media(operation="copy", container="mkv" if codec == "vp9" else "mp4", cuts=SPONSOR),
        fetched(video, "video"),
        fetched(audio, "audio"),
    )

    output = tmp_path / made.main.path
    copied, source = digests(output, "video"), digests(video, "video")
    head = next(at for at, pair in enumerate(zip(copied, source, strict=False)) if pair[0] != pair[1])
    rest = iter(source)
    assert all(digest in rest for digest in copied)  # unchanged and in order
    assert 24 <= head <= 30
    frames = decoded(output, "video")
    assert len(frames) == len(copied)
    steps = [after - before for before, after in pairwise(frames)]
    assert max(steps) == pytest.approx(0.1, abs=0.005)
    assert min(steps) == pytest.approx(0.1, abs=0.005)
    sound = samples(output, "audio")
    gaps = [after.pts - before.pts - before.duration for before, after in pairwise(sound)]
    assert max(map(abs, gaps)) < 0.002
    assert sound[-1].pts + sound[-1].duration == pytest.approx(frames[-1] + 0.1, abs=0.25)
    assert made.duration_ms == pytest.approx(8100, abs=600)


def test_several_cuts_of_a_file_with_both(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    source = make_muxed(tmp_path / "m.ts", 20, (160, 90))
    cuts = (
        Cut(start=0, end=2, category="intro"),
        Cut(start=8, end=10, category="sponsor"),
        Cut(start=9, end=11, category="selfpromo"),
        Cut(start=18, end=20, category="outro"),
    )

    made = mux(Media(operation="copy", container="mp4", cuts=cuts), fetched(source, "muxed"))

    output = tmp_path / made.main.path
    assert made.duration_ms == pytest.approx(13000, abs=300)
    frames = decoded(output, "video")
    assert len(frames) == 130
    assert decoded(output, "audio")[-1] == pytest.approx(frames[-1], abs=0.25)


def test_chapters_and_subtitles_move(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4", 12, (160, 90))
    subtitles = tmp_path / "sub.vtt"
    subtitles.write_text(
        "WEBVTT\n\n00:01.000 --> 00:02.000\nbefore\n\n00:04.000 --> 00:05.000\ngone\n\n00:08.000 --> 00:09.000\nafter\n"
    )
    chapters = (Chapter(title="One", start=0), Chapter(title="Ad", start=3.5), Chapter(title="Two", start=8))
    media = Media(
        operation="copy", container="mp4", cuts=SPONSOR, chapters=chapters, subtitles="sidecar", subtitle_format="srt"
    )

    made = mux(media, fetched(video, "video"), fetched(subtitles, "subtitle", language="en"))

    (sidecar,) = made.sidecars
    assert "gone" not in (text := (tmp_path / sidecar.path).read_text())
    assert "00:00:04,000 --> 00:00:05,000\nafter" in text
    with opened(tmp_path / made.main.path) as output:
        found = [(c["metadata"]["title"], float(c["start"] * c["time_base"])) for c in output.chapters()]
    assert found == [("One", 0), ("Ad", 3.0), ("Two", pytest.approx(4.0))]


def test_a_cut_without_a_key_frame_near_its_end_is_left_in(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4", 12, (160, 90), gop=100)
    cuts = (Cut(start=3, end=4, category="sponsor"),)

    made = mux(Media(operation="copy", container="mp4", cuts=cuts), fetched(video, "video"))

    assert digests(tmp_path / made.main.path, "video") == digests(video, "video")
    assert made.warnings == ("A SponsorBlock segment was left in: no key frame lies near its end.",)


def test_pictures_shown_before_their_key_frame_go_with_the_cut() -> None:
    # Decoding order with an open group: the key frame at 5.0 is followed by two pictures shown before it.
    times = [0.0, 1.0, 2.0, 3.0, 5.0, 3.5, 4.5, 6.0]
    survey = Survey(array("d", times), [0, 4], 7.0)
    snapped = snap(survey, [Cut(start=2.0, end=5.2, category="sponsor")])
    gate = PictureGate(snapped)

    class Packet:
        is_keyframe = False

    passed = [time for time in times if gate.shift(Packet(), time, 1.0) is not None]

    assert passed == [0.0, 1.0, 5.0, 6.0]
    assert snapped.timeline.place(5.0) == 2.0


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=8),
    st.integers(1, 60),
)
def test_any_cuts_give_pictures_in_order_that_begin_with_a_key_frame(
    bounds: list[tuple[float, float]], gop: int
) -> None:
    times = [number / 5 for number in range(400)]
    keys = list(range(0, 400, gop))
    cuts = [Cut(start=start, end=end, category="sponsor") for start, end in bounds]

    snapped = snap(Survey(array("d", times), keys, 80.0), cuts)

    at = 0.0
    for scene, span in zip(snapped.scenes, snapped.timeline.spans, strict=True):
        assert scene.first in keys
        assert span.at == pytest.approx(at)
        assert scene.last > scene.first
        at += min(span.end, 80.0) - span.start
    assert at <= 80.0 + 1e-6
    gate = PictureGate(snapped)

    class Packet:
        is_keyframe = False

    placed = [time - shift for time in times if (shift := gate.shift(Packet(), time, 0.2)) is not None]
    assert placed == pytest.approx([number / 5 for number in range(len(placed))])


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=8), st.floats(1, 100))
def test_the_timeline_never_runs_backwards(bounds: list[tuple[float, float]], total: float) -> None:
    timeline = without([Cut(start=start, end=end, category="sponsor") for start, end in bounds], total)

    places = [timeline.place(total * step / 50) for step in range(51)]

    assert all(after >= before - 1e-9 for before, after in pairwise(places))
    assert 0 <= places[-1] <= total + 1e-9
