"""Video by stream copy: every packet of the sources is in the output, unchanged and in time."""

from collections.abc import Callable
from pathlib import Path

import pytest

from downloader.handoff import Media, Muxed
from tests.media import make_audio, make_muxed, make_video
from tests.mux.broken import box, retimed
from tests.mux.conftest import fetched
from tests.mux.packets import digests, opened, samples

SMALL = (160, 90)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("codec", ["h264", "h264-bframes", "hevc", "av1"])
def test_every_packet_of_fragmented_mp4_is_copied(
    mux: Callable[..., Muxed], tmp_path: Path, codec: str, container: str
) -> None:
    video = make_video(tmp_path / "video.mp4", 4, SMALL, codec=codec)
    audio = make_audio(tmp_path / "audio.m4a", 4)

    made = mux(Media(operation="copy", container=container), fetched(video, "video"), fetched(audio, "audio"))

    output = tmp_path / made.main.path
    assert digests(output, "video") == digests(video, "video")
    assert digests(output, "audio") == digests(audio, "audio")
    assert made.main.name.endswith(f".{container}")
    assert made.main.size == output.stat().st_size


@pytest.mark.parametrize("container", ["webm", "mkv", "mp4"])
def test_every_packet_of_webm_is_copied(mux: Callable[..., Muxed], tmp_path: Path, container: str) -> None:
    video = make_video(tmp_path / "video.webm", 4, SMALL)
    audio = make_audio(tmp_path / "audio.webm", 4)

    made = mux(Media(operation="copy", container=container), fetched(video, "video"), fetched(audio, "audio"))

    output = tmp_path / made.main.path
    assert digests(output, "video") == digests(video, "video")
    assert digests(output, "audio") == digests(audio, "audio")


@pytest.mark.parametrize(
    ("source", "codec", "tag"),
    [
        ("v.mp4", "h264", "avc1"),
        ("v.ts", "h264", "avc1"),
        ("v.mp4", "hevc", "hvc1"),
        ("v.mkv", "hevc", "hvc1"),
        ("v.ts", "hevc", "hvc1"),
        ("v.mp4", "av1", "av01"),
        ("v.webm", "av1", "av01"),
        ("v.webm", "vp9", "vp09"),
    ],
)
def test_the_sample_entry_is_the_one_that_players_know(
    mux: Callable[..., Muxed], tmp_path: Path, *, source: str, codec: str, tag: str
) -> None:
    video = make_video(tmp_path / source, 2, SMALL, codec=codec)

    made = mux(Media(operation="copy", container="mp4"), fetched(video, "video"))

    output = tmp_path / made.main.path
    assert made.main.name.endswith(".mp4")
    entry = box(output.read_bytes(), b"stsd")[0] + 16
    assert output.read_bytes()[entry + 4 : entry + 8] == tag.encode()
    with opened(output) as found:
        assert len(list(found.decode(video=0))) == 20


def test_times_are_kept_with_b_frames(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    video = make_video(tmp_path / "video.mp4", 4, SMALL, codec="h264-bframes")
    audio = make_audio(tmp_path / "audio.m4a", 4)

    made = mux(Media(operation="copy", container="mp4"), fetched(video, "video"), fetched(audio, "audio"))

    output = tmp_path / made.main.path
    assert [s.pts for s in samples(output, "video")] == pytest.approx([s.pts for s in samples(video, "video")])
    assert [s.pts for s in samples(output, "audio")] == pytest.approx([s.pts for s in samples(audio, "audio")])


@pytest.mark.parametrize("container", ["mp4", "mkv", "webm"])
@pytest.mark.parametrize(("picture", "sound"), [(5.0, 5.0), (5.0, 5.2), (5.4, 5.0), (0.0, 0.25)])
def test_tracks_that_begin_late_are_aligned(
    mux: Callable[..., Muxed], tmp_path: Path, *, container: str, picture: float, sound: float
) -> None:
    video, audio = make_video(tmp_path / "v.webm", 4, SMALL), make_audio(tmp_path / "a.webm", 4)
    tracks = [
        fetched(retimed(video, tmp_path / "video.webm", "matroska", lambda _: round(picture * 1000)), "video"),
        fetched(retimed(audio, tmp_path / "audio.webm", "matroska", lambda _: round(sound * 1000)), "audio"),
    ]

    made = mux(Media(operation="copy", container=container), *tracks)

    found = {kind: samples(tmp_path / made.main.path, kind)[0].pts for kind in ("video", "audio")}
    begin = min(picture, sound)
    priming = samples(audio, "audio")[0].pts  # below zero: hidden, not heard
    assert found["video"] == pytest.approx(picture - begin, abs=0.02)
    assert found["audio"] == pytest.approx(sound - begin, abs=0.02 + abs(priming))


@pytest.mark.parametrize("container", ["mp4", "mkv", "webm"])
def test_picture_and_sound_do_not_drift_apart(mux: Callable[..., Muxed], tmp_path: Path, container: str) -> None:
    suffixes = (".webm", ".webm") if container == "webm" else (".mp4", ".m4a")
    video = make_video(tmp_path / f"video{suffixes[0]}", 120, (64, 64), fps=30)
    audio = make_audio(tmp_path / f"audio{suffixes[1]}", 120)

    made = mux(Media(operation="copy", container=container), fetched(video, "video"), fetched(audio, "audio"))

    output = tmp_path / made.main.path
    apart = [samples(path, kind)[-1].pts for path, kind in ((video, "video"), (audio, "audio"))]
    now = [samples(output, kind)[-1].pts for kind in ("video", "audio")]
    assert now[0] - now[1] == pytest.approx(apart[0] - apart[1], abs=0.02)  # a frame of sound is 20 ms and more
    assert now == pytest.approx(apart, abs=0.02)


def test_a_transport_stream_becomes_mp4(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    source = make_muxed(tmp_path / "muxed.ts", 4, SMALL)

    made = mux(Media(operation="copy", container="mp4"), fetched(source, "muxed"))

    with opened(tmp_path / made.main.path) as output:
        assert [s.codec_context.codec_tag for s in output.streams] == ["avc1", "mp4a"]
        assert all(s.codec_context.extradata[0] == first for s, first in zip(output.streams, (1, 0x11), strict=True))
    assert len(samples(tmp_path / made.main.path, "video")) == 40
    assert samples(tmp_path / made.main.path, "video")[0].pts < 0.2


def test_the_same_step_gives_the_same_bytes(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    video = fetched(make_video(tmp_path / "video.webm", 2, SMALL), "video")
    media = Media(operation="copy", container="webm", title="A title")

    first = (tmp_path / mux(media, video, epoch=1).main.path).read_bytes()
    second = (tmp_path / mux(media, video, epoch=2).main.path).read_bytes()

    assert first == second


def test_sound_alone_goes_into_m4a(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    audio = make_audio(tmp_path / "audio.m4a", 4)

    made = mux(Media(operation="copy", container="m4a", title="Tone"), fetched(audio, "audio"))

    assert made.main.name == "Tone.m4a"
    assert made.main.content_type == "audio/mp4"
    assert digests(tmp_path / made.main.path, "audio") == digests(audio, "audio")


def test_sound_is_taken_out_of_a_file_with_picture(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    source = make_muxed(tmp_path / "muxed.mp4", 4, SMALL)

    made = mux(Media(operation="copy", container="m4a"), fetched(source, "muxed"))

    output = tmp_path / made.main.path
    assert digests(output, "audio") == digests(source, "audio")
    with opened(output) as container:
        assert [stream.type for stream in container.streams] == ["audio"]


def test_an_edit_list_is_kept(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    source = make_muxed(tmp_path / "muxed.mp4", 4, SMALL, video_codec="h264-bframes")

    made = mux(Media(operation="copy", container="mp4"), fetched(source, "muxed"))

    for kind in ("video", "audio"):
        found, wanted = samples(tmp_path / made.main.path, kind), samples(source, kind)
        assert [sample.pts for sample in found] == pytest.approx([sample.pts for sample in wanted])
        assert [sample.digest for sample in found] == [sample.digest for sample in wanted]
