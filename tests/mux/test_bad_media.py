"""Media that is broken or hostile: the right file, or one clear error and nothing left behind."""

import functools
import hashlib
import os
import shutil
import struct
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from downloader.errors import DownloadError, EngineCrashed, InsufficientStorage, MediaInvalid, StorageFailed
from downloader.handoff import FetchedTrack, Media, Muxed
from downloader.mux.engine import Engine
from downloader.mux.order import Finished, Order
from downloader.mux.work import translated
from tests.media import make_audio, make_image, make_muxed, make_video
from tests.mux.broken import aliased, box, patched, retimed
from tests.mux.conftest import fetched
from tests.mux.packets import digests, opened, samples

MP4 = Media(operation="copy", container="mp4")
SECRET = b"the words of another job"


def refused(mux: Callable[..., Muxed], tmp_path: Path, *tracks: FetchedTrack, media: Media = MP4) -> str:
    """The sentence of the error, after a look at what is left: nothing."""
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(MediaInvalid) as caught:
        mux(media, *tracks)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert str(tmp_path) not in caught.value.message
    return caught.value.message


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another job's folder."""
    folder = tmp_path_factory.mktemp("other")
    make_muxed(folder / "muxed.ts", 2, (64, 64))
    (folder / "secret.txt").write_bytes(SECRET)
    return folder


@pytest.mark.parametrize("family", ["mp4", "webm", "mpegts", "ogg", "mp3", "flv", None])
@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile {other}/muxed.ts\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{other}/muxed.ts\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXTINF:2,\nhttp://127.0.0.1:1/x.ts\n#EXT-X-ENDLIST\n",
        '<?xml version="1.0"?><MPD><Period><BaseURL>{other}/muxed.ts</BaseURL></Period></MPD>',
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        "<!DOCTYPE html><html><body>Not found</body></html>",
    ],
    ids=["concat", "playlist", "remote playlist", "manifest", "sdp", "page"],
)
def test_scripts_and_playlists_are_not_followed(
    mux: Callable[..., Muxed], tmp_path: Path, elsewhere: Path, *, text: str, family: Any
) -> None:
    path = tmp_path / "video.mp4"
    path.write_text(text.format(other=elsewhere))

    refused(mux, tmp_path, fetched(path, "muxed", format=family))


def test_links_are_not_followed(mux: Callable[..., Muxed], tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "muxed.ts").symlink_to(elsewhere / "muxed.ts")

    assert refused(mux, tmp_path, fetched(tmp_path / "muxed.ts", "muxed")) == "The muxed track is missing."


def test_a_path_out_of_the_folder_is_not_opened(mux: Callable[..., Muxed], tmp_path: Path, elsewhere: Path) -> None:
    track = fetched(elsewhere / "muxed.ts", "muxed")
    outside = FetchedTrack(track.track, f"../{elsewhere.name}/muxed.ts", track.size, "mpegts")

    refused(mux, tmp_path, outside)


def test_references_to_another_file_are_not_followed(
    mux: Callable[..., Muxed], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sources")
    whole = make_video(folder / "whole.mp4", 2, (64, 64), fragmented=False)
    shutil.copy(whole, tmp_path / "other.mp4")
    video = aliased(whole, tmp_path / "video.mp4", "other.mp4")
    with av.open(str(video), "r", format="mov", options={"enable_drefs": "1"}) as trusting:
        stolen = [bytes(packet) for packet in trusting.demux(video=0) if packet.size]
    assert [hashlib.sha256(data).hexdigest() for data in stolen] == digests(whole, "video")

    assert refused(mux, tmp_path, fetched(video, "video")) == "A track holds no media at all."


@pytest.mark.parametrize("size", [0, 1, 7, 100])
@pytest.mark.parametrize("name", ["v.mp4", "v.webm", "v.ts", "v.ogg", "v.mp3", "v.flv"])
def test_a_few_bytes_are_no_media(mux: Callable[..., Muxed], tmp_path: Path, name: str, size: int) -> None:
    (tmp_path / name).write_bytes(bytes(size))

    refused(mux, tmp_path, fetched(tmp_path / name, "muxed"))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("fragmented", [True, False])
def test_a_file_cut_short_is_refused(
    mux: Callable[..., Muxed], tmp_path: Path, *, share: float, fragmented: bool
) -> None:
    video = make_video(tmp_path / "video.mp4", 10, (160, 90), fragmented=fragmented)
    os.truncate(video, round(video.stat().st_size * share))

    refused(mux, tmp_path, fetched(video, "video"))


def test_a_truncated_index_is_refused(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    video = make_video(tmp_path / "video.mp4", 10, (160, 90), fragmented=False)
    start, size = box(video.read_bytes(), b"moov")
    os.truncate(video, start + size // 2)

    refused(mux, tmp_path, fetched(video, "video"))


@pytest.mark.parametrize("kind", [b"moov", b"trak", b"stbl", b"stsz", b"stsd", b"mdat", b"stco"])
@pytest.mark.parametrize("size", [0, 7, 1 << 20, 0xFFFFFFFF])
def test_absurd_box_sizes_end_well(mux: Callable[..., Muxed], tmp_path: Path, *, kind: bytes, size: int) -> None:
    video = make_video(tmp_path / "video.mp4", 2, (64, 64), fragmented=False)
    source = digests(video, "video")
    patched(video, box(video.read_bytes(), kind)[0], struct.pack(">I", size))

    try:
        made = mux(MP4, fetched(video, "video"))
    except MediaInvalid:
        return
    assert digests(tmp_path / made.main.path, "video") == source


@pytest.mark.parametrize(("kind", "at"), [(b"stsz", 16), (b"stts", 12), (b"stsc", 12), (b"stco", 12)])
def test_absurd_counts_end_well(mux: Callable[..., Muxed], tmp_path: Path, *, kind: bytes, at: int) -> None:
    video = make_video(tmp_path / "video.mp4", 2, (64, 64), fragmented=False)
    source = digests(video, "video")
    patched(video, box(video.read_bytes(), kind)[0] + at, b"\x7f\xff\xff\xff")

    try:
        made = mux(MP4, fetched(video, "video"))
    except MediaInvalid:
        return
    assert digests(tmp_path / made.main.path, "video") == source


def test_a_file_of_too_many_tracks_is_refused(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    video = make_video(tmp_path / "video.mp4", 2, (64, 64), fragmented=False)
    data = video.read_bytes()
    (moov, moov_size), (trak, trak_size) = box(data, b"moov"), box(data, b"trak")
    tracks = data[trak : trak + trak_size] * 500
    head = struct.pack(">I", moov_size + len(tracks)) + data[moov + 4 : trak]
    video.write_bytes(data[:moov] + head + tracks + data[trak:])

    refused(mux, tmp_path, fetched(video, "video"))


@pytest.mark.parametrize("late", [0, 10**7])
def test_a_leap_in_time_is_no_silent_loss(mux: Callable[..., Muxed], tmp_path: Path, late: int) -> None:
    source = make_video(tmp_path / "source.mp4", 10, (64, 64))
    leap = 0 if late else 10**9
    video = retimed(source, tmp_path / "video.webm", "matroska", lambda number: late + leap * (number >= 50))

    if leap:
        media = Media(operation="copy", container="mp4", duration_s=10)
        assert "s long instead of 10 s" in refused(mux, tmp_path, fetched(video, "video"), media=media)
        return
    made = mux(MP4, fetched(video, "video"))
    found = samples(tmp_path / made.main.path, "video")
    assert [sample.pts for sample in found] == pytest.approx([number / 10 for number in range(100)], abs=0.002)


@pytest.mark.parametrize("leap", [0, 10**7])
def test_a_transport_stream_that_counts_anew_goes_on(mux: Callable[..., Muxed], tmp_path: Path, leap: int) -> None:
    first = make_muxed(tmp_path / "m.ts", 5, (64, 64))
    if leap:
        retimed(make_video(tmp_path / "v.ts", 5, (64, 64)), tmp_path / "late.ts", "mpegts", lambda _: leap)
        second = (tmp_path / "late.ts").read_bytes()
        first = make_video(tmp_path / "v.ts", 5, (64, 64))
    else:
        second = first.read_bytes()
    first.write_bytes(first.read_bytes() + second)

    made = mux(MP4, fetched(first, "muxed"))

    found = samples(tmp_path / made.main.path, "video")
    assert len(found) == 100
    assert all(0 < after.dts - before.dts < 0.5 for before, after in pairwise(found))
    assert made.duration_ms == pytest.approx(10_000, abs=300)


def test_packets_without_times_are_given_some(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    with opened(make_audio(tmp_path / "a.ts", 3)) as source:
        raw = b"".join(bytes(packet) for packet in source.demux(audio=0))
    # ADTS in a transport stream whose second half has lost its PES headers' times: the parser finds frames, no times.
    data = bytearray((tmp_path / "a.ts").read_bytes())
    for at in range(len(data) // 2 // 188 * 188, len(data), 188):
        if (
            data[at + 1] & 0x40
            and data[at + 4 : at + 5] != b"\0"
            and (start := data.find(b"\0\0\1\xc0", at, at + 188)) > 0
        ):
            data[start + 7] &= 0x3F
    (tmp_path / "a.ts").write_bytes(data)

    made = mux(Media(operation="copy", container="m4a"), fetched(tmp_path / "a.ts", "audio"))

    assert raw
    found = samples(tmp_path / made.main.path, "audio")
    assert all(after.dts > before.dts for before, after in pairwise(found))
    assert found[-1].pts == pytest.approx(3, abs=0.5)


def test_cover_art_is_no_picture(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    cover = fetched(make_image(tmp_path / "cover.jpg"), "image")
    audio = fetched(make_audio(tmp_path / "a.m4a", 3), "audio")
    covered = mux(Media(operation="copy", container="m4a"), audio, cover)
    shutil.move(tmp_path / covered.main.path, tmp_path / "covered.mp4")

    made = mux(MP4, fetched(tmp_path / "covered.mp4", "muxed"))
    with opened(tmp_path / made.main.path) as output:
        assert [stream.type for stream in output.streams] == ["audio"]
    (tmp_path / made.main.path).unlink()

    assert "holds no picture" in refused(mux, tmp_path, fetched(tmp_path / "covered.mp4", "video"))


def test_a_length_that_was_not_promised_is_said(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    source = fetched(make_video(tmp_path / "m.mp4", 3, (64, 64)), "muxed")

    made = mux(Media(operation="copy", container="mp4", duration_s=30), source)

    assert made.warnings == ("The file is 3 s long; the source says 30 s.",)


def test_a_file_without_sound_stays_silent(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    source = make_video(tmp_path / "m.mp4", 3, (64, 64))

    made = mux(MP4, fetched(source, "muxed"))

    with opened(tmp_path / made.main.path) as output:
        assert [stream.type for stream in output.streams] == ["video"]


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (OSError(28, "No space left on device", "/data/x"), InsufficientStorage),
        (OSError(122, "Quota exceeded"), InsufficientStorage),
        (OSError(5, "Input/output error"), StorageFailed),
        (OSError(27, "File too large"), MediaInvalid),
        (MemoryError(), MediaInvalid),
    ],
)
def test_errors_of_the_system_are_named(error: BaseException, ours: type[DownloadError]) -> None:
    found = translated(error)

    assert type(found) is ours
    assert "/data" not in found.message


SOURCES = {
    "fragments.mp4": lambda path: make_muxed(path, 1, (32, 32), fragmented=True, gop=3),
    "index.mp4": lambda path: make_muxed(path, 1, (32, 32), video_codec="h264-bframes"),
    "picture.mp4": lambda path: make_video(path, 1, (32, 32), codec="h264-bframes", gop=3),
    "sound.m4a": lambda path: make_audio(path, 1),
    "clusters.webm": lambda path: make_muxed(path, 1, (32, 32)),
    "stream.ts": lambda path: make_muxed(path, 1, (32, 32)),
    "sound.ogg": lambda path: make_audio(path, 1),
    "sound.mp3": lambda path: make_audio(path, 1),
}


@functools.cache
def source_bytes(name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return SOURCES[name](Path(folder) / name).read_bytes()


@settings(
    max_examples=int(os.environ.get("MUX_FUZZ_EXAMPLES", "500")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.sampled_from(sorted(SOURCES)),
    bytes_changed=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    kept=st.just(1.0) | st.floats(0, 1),
    convert=st.booleans(),
)
def test_damaged_files_end_well(
    engine: Engine,
    tmp_path: Path,
    *,
    name: str,
    bytes_changed: list[tuple[float, int]],
    kept: float,
    convert: bool,
) -> None:
    whole = bytearray(source_bytes(name))
    for place, value in bytes_changed:
        whole[round(place * (len(whole) - 1))] = value
    del whole[round(kept * len(whole)) :]
    (tmp_path / name).write_bytes(whole)
    (tmp_path / "muxed.ts").write_bytes(SECRET)
    audio = name.startswith("sound")
    media = Media(operation="transcode", container="mp3", audio_codec="mp3") if convert else MP4
    order = Order(str(tmp_path), "out", (fetched(tmp_path / name, "audio" if audio else "muxed"),), media, 1 << 24, 5)

    with capture_logs() as logs:
        try:
            made = engine.run(order, lambda: None, lambda done, total: None)
        except (MediaInvalid, EngineCrashed):
            made = None
    assert not [line["trace"] for line in logs if line["event"] == "mux.broken"], "a bug of ours, not a crash of FFmpeg"
    if made is None:
        return
    assert isinstance(made, Finished)
    assert SECRET not in (tmp_path / made.main.path).read_bytes()
    with opened(tmp_path / made.main.path) as output:
        assert list(output.streams)
