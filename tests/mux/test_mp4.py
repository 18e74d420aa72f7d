"""mp4 begins with its index, written in one pass, whatever the sources are."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from downloader.handoff import Chapter, Media, Muxed
from downloader.mux import moov
from tests.media import make_audio, make_image, make_muxed, make_video
from tests.mux.conftest import fetched
from tests.mux.packets import digests


def boxes(path: Path) -> list[tuple[str, int]]:
    """The boxes of the file in order: (type, size)."""
    found = []
    with path.open("rb") as file:
        while head := file.read(8):
            size, kind = struct.unpack(">I4s", head)
            skip = size - 8
            if size == 1:
                size = struct.unpack(">Q", file.read(8))[0]
                skip = size - 16
            found.append((kind.decode("latin-1"), size))
            file.seek(skip, 1)
    return found


def index_before_media(path: Path) -> bool:
    kinds = [kind for kind, _ in boxes(path)]
    return kinds.index("moov") < kinds.index("mdat") and kinds.count("mdat") == 1 and "moof" not in kinds


@pytest.mark.parametrize(
    ("video", "audio", "codec"),
    [("v.mp4", "a.m4a", "h264-bframes"), ("v.webm", "a.webm", "vp9"), ("v.mp4", "a.webm", "av1")],
)
def test_the_index_comes_first(mux: Callable[..., Muxed], tmp_path: Path, video: str, audio: str, codec: str) -> None:
    tracks = [
        fetched(make_video(tmp_path / video, 6, (160, 90), codec=codec, fragmented=False), "video"),
        fetched(make_audio(tmp_path / audio, 6), "audio"),
    ]

    made = mux(Media(operation="copy", container="mp4"), *tracks)

    assert index_before_media(tmp_path / made.main.path)
    assert [kind for kind, _ in boxes(tmp_path / made.main.path)][1:3] == ["moov", "free"]  # in one pass


def test_the_room_for_the_index_is_little(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    tracks = [
        fetched(make_video(tmp_path / "v.mp4", 60, (160, 90), fps=30, fragmented=False), "video"),
        fetched(make_audio(tmp_path / "a.m4a", 60), "audio"),
    ]

    made = mux(Media(operation="copy", container="mp4"), *tracks)

    sizes = dict(boxes(tmp_path / made.main.path))
    assert sizes["free"] < 3 * sizes["moov"]


def test_covers_and_chapters_have_their_room(mux: Callable[..., Muxed], tmp_path: Path) -> None:
    chapters = tuple(Chapter(title=f"Chapter {number} " * 5, start=number / 10) for number in range(50))
    tracks = [
        fetched(make_muxed(tmp_path / "m.ts", 6, (160, 90)), "muxed"),
        fetched(make_image(tmp_path / "cover.jpg", (640, 360)), "image"),
    ]

    made = mux(Media(operation="copy", container="mp4", description="d" * 4000, chapters=chapters), *tracks)

    kinds = [kind for kind, _ in boxes(tmp_path / made.main.path)]
    assert kinds[1:3] == ["moov", "free"]


def test_an_index_longer_than_its_room_is_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from downloader.mux import extras, remux
    from downloader.mux.task import Task

    monkeypatch.setattr(moov, "room", lambda *_, **__: 600)
    video = make_video(tmp_path / "v.mp4", 6, (160, 90), fragmented=False)
    tracks = (fetched(video, "video"),)
    media = Media(operation="copy", container="mp4")
    along = extras.load(tmp_path, tracks, media)

    remux.remux(Task(tmp_path, tmp_path / "out.mp4", tracks, media, along, lambda done, total: None))

    assert index_before_media(tmp_path / "out.mp4")
    assert digests(tmp_path / "out.mp4", "video") == digests(video, "video")


@pytest.mark.parametrize("fragmented", [True, False])
def test_vp9_goes_from_mp4_to_mp4(mux: Callable[..., Muxed], tmp_path: Path, *, fragmented: bool) -> None:
    video = make_video(tmp_path / "v.mp4", 3, (160, 90), codec="vp9", fragmented=fragmented)

    made = mux(Media(operation="copy", container="mp4"), fetched(video, "video"))

    assert digests(tmp_path / made.main.path, "video") == digests(video, "video")
