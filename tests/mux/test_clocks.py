"""Clocks of sources: wherever they begin, leap or start anew, picture and sound stay together."""

import struct
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from downloader.errors import MediaInvalid
from downloader.handoff import Media, Muxed
from tests.media import make_audio, make_muxed, make_video
from tests.mux.broken import boxes, retimed
from tests.mux.conftest import fetched
from tests.mux.packets import digests, samples

MP4 = Media(operation="copy", container="mp4")
SMALL = (160, 90)


def late(path: Path, seconds: float) -> Path:
    """Fragmented MP4 of one track whose first fragment begins ``seconds`` later, as a cut from a live stream has it."""
    data = bytearray(path.read_bytes())
    found = list(boxes(bytes(data)))
    mdhd = next(start for kind, start, _ in found if kind == b"mdhd")
    (timescale,) = struct.unpack_from(">I", data, mdhd + 20)
    for kind, start, _ in found:
        place = {b"tfdt": start + 12, b"sidx": start + 20}.get(kind)
        if place is not None:
            assert data[start + 8] == 1
            (time,) = struct.unpack_from(">Q", data, place)
            struct.pack_into(">Q", data, place, time + round(seconds * timescale))
    path.write_bytes(data)
    return path


def rewritten(source: Path, path: Path, movflags: str = "", **options: str) -> Path:
    """The packets of ``source`` in another file, in MP4 written with these flags."""
    muxer = {".aac": "adts", ".mkv": "matroska"}.get(path.suffix, "mp4")
    given = options | ({"movflags": movflags} if movflags else {})
    with av.open(str(source)) as old, av.open(str(path), "w", format=muxer, options=given) as new:
        targets = {stream.index: new.add_stream_from_template(stream, opaque=True) for stream in old.streams}
        for packet in old.demux():
            if packet.size:
                packet.stream = targets[packet.stream.index]
                new.mux(packet)
    return path


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("seconds", [3, 3600])
def test_fragments_may_begin_at_any_time(
    mux: Callable[..., Muxed], tmp_path: Path, container: str, seconds: float
) -> None:
    video = late(make_video(tmp_path / "v.mp4", 4, SMALL), seconds)
    audio = late(make_audio(tmp_path / "a.m4a", 4), seconds)

    made = mux(Media(operation="copy", container=container), fetched(video, "video"), fetched(audio, "audio"))

    assert made.duration_ms == pytest.approx(4000, abs=100)
    assert not made.warnings
    assert samples(tmp_path / made.main.path, "video")[0].pts == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("flags", ["cmaf+delay_moov", "frag_every_frame+empty_moov+negative_cts_offsets"])
def test_pictures_with_negative_offsets_stay_with_the_sound(
    mux: Callable[..., Muxed], tmp_path: Path, flags: str, container: str
) -> None:
    source = make_video(tmp_path / "s.mp4", 3, SMALL, codec="h264-bframes", fps=25, fragmented=False)
    video = rewritten(source, tmp_path / "v.mp4", flags)
    audio = make_audio(tmp_path / "a.m4a", 3)

    made = mux(Media(operation="copy", container=container), fetched(video, "video"), fetched(audio, "audio"))

    output = tmp_path / made.main.path
    assert digests(output, "video") == digests(source, "video")
    assert [s.pts for s in samples(output, "video")] == pytest.approx(
        [s.pts for s in samples(source, "video")], abs=0.0011
    )


@pytest.mark.parametrize("seconds", [1.5, 3.0])
def test_sound_that_begins_late_begins_late(mux: Callable[..., Muxed], tmp_path: Path, seconds: float) -> None:
    video = make_video(tmp_path / "v.mp4", 6, SMALL)
    audio = retimed(make_audio(tmp_path / "s.m4a", 3), tmp_path / "a.m4a", "mp4", lambda _: round(48000 * seconds))

    made = mux(MP4, fetched(video, "video"), fetched(audio, "audio"))

    assert samples(tmp_path / made.main.path, "audio")[0].pts == pytest.approx(seconds, abs=0.03)


def apart(output: Path, piece: Path, count: int) -> list[float]:
    """How far sound is from picture at the beginning of each of ``count`` pieces, beyond what it is in the piece."""
    starts = {
        kind: [found[number * len(digests(piece, kind))].pts for number in range(count)]
        for kind in ("video", "audio")
        for found in [samples(output, kind)]
    }
    own = samples(piece, "audio")[0].pts - samples(piece, "video")[0].pts
    return [sound - picture - own for picture, sound in zip(starts["video"], starts["audio"], strict=True)]


def test_discontinuities_do_not_drive_picture_and_sound_apart(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    piece = make_muxed(tmp_path / "piece.ts", 1.13, SMALL)
    source = tmp_path / "all.ts"
    source.write_bytes(piece.read_bytes() * 12)

    made = mux(MP4, fetched(source, "muxed", transport="hls"))

    assert apart(tmp_path / made.main.path, piece, 12) == pytest.approx([0.0] * 12, abs=0.03)


def test_discontinuities_of_tracks_apart_stay_the_same(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    video, audio = make_video(tmp_path / "v.ts", 1.5, SMALL), make_audio(tmp_path / "a.ts", 1.43)
    for one in (video, audio):
        one.with_name(f"all-{one.name}").write_bytes(one.read_bytes() * 12)

    made = mux(
        MP4,
        fetched(tmp_path / "all-v.ts", "video", transport="hls"),
        fetched(tmp_path / "all-a.ts", "audio", transport="hls"),
    )

    output = tmp_path / made.main.path
    starts = [
        samples(output, kind)[11 * len(digests(one, kind))].pts for one, kind in ((video, "video"), (audio, "audio"))
    ]
    own = [samples(one, kind)[0].pts for one, kind in ((video, "video"), (audio, "audio"))]
    assert starts[1] - starts[0] == pytest.approx(own[1] - own[0], abs=0.03)


@pytest.mark.parametrize(("transport", "length"), [("hls", 4000), ("ranges", 1004_000)])
def test_a_leap_of_the_clock_is_closed_where_segments_are_joined(
    mux: Callable[..., Muxed], tmp_path: Path, transport: str, length: int
) -> None:
    source = make_video(tmp_path / "s.mp4", 4, SMALL, fps=25, gop=25, fragmented=False)
    with av.open(str(source)) as opened:
        rate = opened.streams[0].time_base.denominator
    leaping = retimed(source, tmp_path / "l.mp4", "mp4", lambda number: 1000 * rate * (number >= 50))
    video = rewritten(leaping, tmp_path / "v.mp4", "frag_keyframe+empty_moov+default_base_moof")

    made = mux(MP4, fetched(video, "video", transport=transport))

    assert made.duration_ms == pytest.approx(length, abs=100)
    assert digests(tmp_path / made.main.path, "video") == digests(source, "video")


@pytest.mark.parametrize("seconds", [0.0, 0.5, None])
def test_packed_sound_begins_when_its_stamp_says(
    mux: Callable[..., Muxed], tmp_path: Path, seconds: float | None
) -> None:
    video = retimed(make_video(tmp_path / "p.ts", 3, SMALL), tmp_path / "v.ts", "mpegts", lambda _: 1_800_000)
    audio = rewritten(make_audio(tmp_path / "s.m4a", 2), tmp_path / "a.aac")
    if seconds is not None:
        stamp = round((samples(video, "video")[0].pts + seconds) * 90_000)
        private = b"com.apple.streaming.transportStreamTimestamp\0" + struct.pack(">Q", stamp)
        frame = b"PRIV" + struct.pack(">I", len(private)) + b"\0\0" + private
        audio.write_bytes(b"ID3\4\0\0" + struct.pack(">I", len(frame)) + frame + audio.read_bytes())

    made = mux(MP4, fetched(video, "video", transport="hls"), fetched(audio, "audio", transport="hls", format=None))

    first = {kind: samples(tmp_path / made.main.path, kind)[0].pts for kind in ("video", "audio")}
    assert first["audio"] - first["video"] == pytest.approx(seconds or 0.0, abs=0.03)


def test_pictures_of_matroska_are_where_they_were(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    source = make_video(tmp_path / "v.mp4", 3, SMALL, codec="h264-bframes", fps=25, fragmented=False)
    video = rewritten(source, tmp_path / "v.mkv")

    made = mux(MP4, fetched(video, "video"))

    found = [s.pts for s in samples(tmp_path / made.main.path, "video")]
    assert found == pytest.approx([s.pts for s in samples(source, "video")], abs=0.0011)


def encrypted(source: Path, path: Path, movflags: str) -> Path:
    return rewritten(
        source,
        path,
        movflags,
        encryption_scheme="cenc-aes-ctr",
        encryption_key="76a6c65c5ea762046bd749a2e632ccbb",
        encryption_kid="a7e61c373e219033c21091fa607bf3b8",
    )


@pytest.mark.parametrize("movflags", ["faststart", "frag_keyframe+empty_moov+default_base_moof"])
@pytest.mark.parametrize("kind", ["video", "audio"])
def test_what_is_encrypted_is_refused(mux: Callable[..., Muxed], tmp_path: Path, movflags: str, kind: str) -> None:
    source = make_video(tmp_path / "s.mp4", 2, SMALL) if kind == "video" else make_audio(tmp_path / "s.m4a", 2)
    track = encrypted(source, tmp_path / "e.mp4", movflags)

    with pytest.raises(MediaInvalid, match=r"encrypted|cannot be read"):
        mux(MP4, fetched(track, kind))


def test_segments_of_another_format_are_refused(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    pieces = [make_video(tmp_path / f"{size[0]}.mp4", 2, size).read_bytes() for size in (SMALL, (320, 180))]
    source = tmp_path / "v.mp4"
    source.write_bytes(b"".join(pieces))

    with pytest.raises(MediaInvalid, match="changes its format"):
        mux(MP4, fetched(source, "video", transport="hls"))


def test_segments_that_repeat_their_header_are_joined(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    piece = make_video(tmp_path / "p.mp4", 2, SMALL)
    source = tmp_path / "v.mp4"
    other = bytearray(piece.read_bytes())
    other[other.index(b"mvhd") + 8 : other.index(b"mvhd") + 16] = b"\1" * 8  # made at another time
    source.write_bytes(piece.read_bytes() + other + piece.read_bytes())

    made = mux(MP4, fetched(source, "video", transport="hls"))

    assert digests(tmp_path / made.main.path, "video") == digests(piece, "video") * 3
    assert made.duration_ms == pytest.approx(6000, abs=100)
