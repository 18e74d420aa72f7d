"""Sound alone: copied where the container takes it, converted where it was asked for by name."""

from array import array
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from downloader.errors import MediaInvalid
from downloader.handoff import Cut, Media, Muxed
from tests.media import make_audio, make_muxed
from tests.mux.broken import retimed
from tests.mux.conftest import fetched
from tests.mux.packets import digests, opened, samples


def stream_of(path: Path) -> Any:
    with opened(path) as source:
        (stream,) = source.streams
        context = stream.codec_context
        return context.codec.canonical_name, context.sample_rate, context.layout.nb_channels, context.bit_rate


@pytest.mark.parametrize(
    ("source", "codec", "container", "content_type"),
    [
        ("a.m4a", "aac", "m4a", "audio/mp4"),
        ("a.webm", "opus", "webm", "audio/webm"),
        ("a.webm", "opus", "ogg", "audio/ogg"),
        ("a.webm", "opus", "opus", "audio/ogg"),
        ("a.webm", "opus", "mkv", "audio/x-matroska"),
        ("a.ogg", "opus", "webm", "audio/webm"),
        ("a.mp3", "mp3", "mp3", "audio/mpeg"),
        ("a.ts", "aac", "m4a", "audio/mp4"),
    ],
)
def test_sound_is_copied(
    mux: Callable[..., Muxed], tmp_path: Path, *, source: str, codec: str, container: str, content_type: str
) -> None:
    audio = make_audio(tmp_path / source, 5, codec)

    made = mux(Media(operation="copy", container=container), fetched(audio, "audio"))

    output = tmp_path / made.main.path
    assert made.main.content_type == content_type
    if source != "a.ts":  # ADTS headers are taken off
        assert digests(output, "audio") == digests(audio, "audio")
    assert stream_of(output)[0] == codec
    assert made.duration_ms == pytest.approx(5000, abs=60)


@pytest.mark.parametrize(
    ("container", "codec", "bitrate"),
    [
        ("mp3", "mp3", 96_000),
        ("mp3", "mp3", None),
        ("m4a", "aac", 96_000),
        ("ogg", "opus", 64_000),
        ("flac", "flac", None),
        ("wav", "pcm_s16le", None),
    ],
)
@pytest.mark.parametrize("source", ["a.m4a", "a.webm", "muxed.mp4"])
def test_sound_is_converted(
    mux: Callable[..., Muxed], tmp_path: Path, *, source: str, container: str, codec: str, bitrate: int | None
) -> None:
    make = make_muxed if source == "muxed.mp4" else make_audio
    path = make(tmp_path / source, 5, **({"size": (64, 64)} if source == "muxed.mp4" else {}))
    kind = "muxed" if source == "muxed.mp4" else "audio"
    media = Media(operation="transcode", container=container, audio_codec=codec, bitrate=bitrate, duration_s=5)

    made = mux(media, fetched(path, kind))

    found, rate, channels, _ = stream_of(tmp_path / made.main.path)
    assert (found, rate, channels) == (codec, 48000, 2)
    assert made.duration_ms == pytest.approx(5000, abs=100)
    if bitrate and source == "a.m4a":
        assert made.main.size * 8 / 5 == pytest.approx(bitrate, rel=0.25)


def test_sound_that_is_there_already_is_copied(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    audio = make_audio(tmp_path / "a.mp3", 5)

    made = mux(Media(operation="transcode", container="mp3", audio_codec="mp3"), fetched(audio, "audio"))

    assert digests(tmp_path / made.main.path, "audio") == digests(audio, "audio")


def test_a_container_that_cannot_hold_the_sound_is_replaced_and_named(
    mux: Callable[..., Muxed], tmp_path: Path
) -> None:
    audio = make_audio(tmp_path / "a.webm", 5)

    made = mux(Media(operation="copy", container="m4a", title="Tone"), fetched(audio, "audio"))

    assert made.main.name == "Tone.webm"
    assert made.warnings == ("What the source offers does not fit into m4a; the file is webm.",)


def test_a_track_of_sound_alone_leaves_the_picture_out(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    source = make_muxed(tmp_path / "m.webm", 3, (64, 64))

    made = mux(Media(operation="copy", container="webm"), fetched(source, "muxed", audio_only=True))

    with opened(tmp_path / made.main.path) as output:
        assert [stream.type for stream in output.streams] == ["audio"]


def test_sound_asked_of_a_silent_file_is_an_error(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    from tests.media import make_video

    source = make_video(tmp_path / "m.mp4", 3, (64, 64))

    with pytest.raises(MediaInvalid, match="holds no sound"):
        mux(Media(operation="copy", container="m4a"), fetched(source, "muxed"))


@pytest.mark.parametrize(("container", "codec"), [("m4a", None), ("mp3", "mp3"), ("wav", "pcm_s16le")])
def test_cuts_of_sound_are_exact(mux: Callable[..., Muxed], tmp_path: Path, container: str, codec: str | None) -> None:
    audio = make_audio(tmp_path / "a.m4a", 10)
    cuts = (Cut(start=0, end=1, category="intro"), Cut(start=4, end=6.5, category="sponsor"))
    media = Media(
        operation="transcode" if codec else "copy", container=container, audio_codec=codec, duration_s=10, cuts=cuts
    )

    made = mux(media, fetched(audio, "audio"))

    assert made.duration_ms == pytest.approx(6500, abs=60)
    found = samples(tmp_path / made.main.path, "audio")
    gaps = [after.pts - before.pts - before.duration for before, after in pairwise(found)]
    assert max(map(abs, gaps)) < 0.001


@pytest.mark.parametrize("tag", [b"", b"ID3\x04\0\0\0\0\x01\0" + bytes(128)])
def test_raw_aac_becomes_m4a(mux: Callable[..., Muxed], tmp_path: Path, tag: bytes) -> None:
    with (
        av.open(str(tmp_path / "x.aac"), "w", format="adts") as raw,
        opened(make_audio(tmp_path / "a.m4a", 3)) as source,
    ):
        target = raw.add_stream_from_template(source.streams[0], opaque=True)
        for packet in source.demux(source.streams[0]):
            if packet.size:
                packet.stream = target
                raw.mux_one(packet)
    (tmp_path / "x.ts").write_bytes(tag + (tmp_path / "x.aac").read_bytes())

    made = mux(Media(operation="copy", container="m4a"), fetched(tmp_path / "x.ts", "audio"))

    assert digests(tmp_path / made.main.path, "audio") == digests(tmp_path / "a.m4a", "audio")


CONVERSIONS = [("mp3", "mp3"), ("m4a", "aac"), ("opus", "opus"), ("flac", "flac"), ("wav", "pcm_s16le")]


def test_sound_that_changes_its_format_midway_is_converted(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    parts = []
    for number, (rate, layout) in enumerate([(48_000, "stereo"), (44_100, "mono")]):
        part = tmp_path / f"{number}.aac"
        with av.open(str(part), "w", format="adts") as output:
            stream = output.add_stream("aac", rate=rate)
            stream.codec_context.layout = layout
            frame: Any = av.AudioFrame("fltp", layout, rate * 2)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.sample_rate, frame.pts = rate, 0
            output.mux([*stream.encode(frame), *stream.encode(None)])
        parts.append(part.read_bytes())
    source = tmp_path / "a.aac"
    source.write_bytes(b"".join(parts))

    for container, codec in CONVERSIONS:
        media = Media(operation="transcode", container=container, audio_codec=codec, bitrate=96_000)
        made = mux(media, fetched(source, "audio", format=None))

        assert made.duration_ms == pytest.approx(4000, abs=150)
        assert stream_of(tmp_path / made.main.path)[1:3] == (48_000, 2)


@pytest.mark.parametrize(("container", "codec"), CONVERSIONS)
def test_a_pause_in_the_sound_is_one_in_what_is_made_of_it(
    mux: Callable[..., Muxed], tmp_path: Path, container: str, codec: str
) -> None:
    audio = retimed(make_audio(tmp_path / "s.m4a", 4), tmp_path / "a.m4a", "mp4", lambda n: 48_000 * 3 * (n > 90))

    made = mux(
        Media(operation="transcode", container=container, audio_codec=codec, bitrate=96_000), fetched(audio, "audio")
    )

    assert made.duration_ms == pytest.approx(7000, abs=100)
    loud = [loudness > 0.01 for loudness in loudnesses(tmp_path / made.main.path)]
    assert loud[:15] == [True] * 15
    assert loud[22:46] == [False] * 24
    assert loud[52:66] == [True] * 14


def loudnesses(path: Path) -> list[float]:
    """The highest sample of each tenth of a second."""
    with opened(path) as source:
        resampler = av.AudioResampler("flt", "mono", 8000)
        found = [
            sample
            for frame in source.decode(audio=0)
            for one in resampler.resample(frame)
            for sample in array("f", bytes(one.planes[0])[: one.samples * 4])
        ]
    return [max(map(abs, found[at : at + 800])) for at in range(0, len(found), 800)]
