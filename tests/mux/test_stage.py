"""The stage: what it hands on, and what it believes of its child."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from downloader.config import Settings
from downloader.errors import EngineCrashed
from downloader.handoff import FetchedTrack, Media, Muxed
from downloader.mux.engine import Engine
from downloader.mux.order import Finished, Made, Order
from stages.contract import StepContext
from stages.mux import MuxStage
from tests.media import make_audio, make_video
from tests.mux.conftest import fetched

MEDIA = Media(operation="copy", container="mp4", title="A title", duration_s=3)


def test_what_it_hands_on(context: Callable[..., StepContext], stage: MuxStage, tmp_path: Path) -> None:
    video = fetched(make_video(tmp_path / "video.mp4", 3, (64, 64)), "video")

    result = stage.run(context(MEDIA, video, epoch=7))

    muxed = result.outputs
    assert isinstance(muxed, Muxed)
    assert muxed.main.path == "mux-7.mp4"
    assert muxed.main.name == "A title.mp4"
    assert muxed.main.size == (tmp_path / "mux-7.mp4").stat().st_size == result.fields["bytes"]
    assert (muxed.duration_ms, result.duration_ms) == (3000, 3000)
    assert result.resolved is not None
    assert (result.resolved.container, result.resolved.file_name) == ("mp4", "A title.mp4")


def test_what_an_earlier_try_left_is_cleared(
    context: Callable[..., StepContext], stage: MuxStage, tmp_path: Path
) -> None:
    video = fetched(make_video(tmp_path / "video.mp4", 3, (64, 64)), "video")
    (tmp_path / "mux-1.0.vtt").write_text("left over")
    (tmp_path / "mux-1.mp4").write_text("left over")

    stage.run(context(MEDIA, video))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["mux-1.mp4", "video.mp4"]


@pytest.fixture
def ordered(
    context: Callable[..., StepContext], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Order]:
    """What the stage orders for such media and tracks."""
    seen: list[Order] = []

    def run(_: Engine, order: Order, *__: object) -> Finished:
        seen.append(order)
        Path(order.work, f"{order.stem}.mp4").write_bytes(b"made")
        return Finished(main=Made(f"{order.stem}.mp4", 4, "mp4", "video/mp4"), container="mp4")

    monkeypatch.setattr(Engine, "run", run)
    monkeypatch.setattr(Engine, "warm", lambda _: None)

    def make(media: Media, *tracks: FetchedTrack, **fields: Any) -> Order:
        step = dataclasses.replace(context(media, *tracks), **fields)
        MuxStage(Settings(data_dir=tmp_path)).run(step)
        return seen[-1]

    return make


def test_an_output_may_be_twice_its_input_and_a_little(ordered: Callable[..., Order], tmp_path: Path) -> None:
    tracks = [
        fetched(make_video(tmp_path / "v.mp4", 3, (64, 64)), "video"),
        fetched(make_audio(tmp_path / "a.m4a", 3), "audio"),
    ]

    order = ordered(MEDIA, *tracks)

    assert order.output_limit == 2 * (tracks[0].size + tracks[1].size) + (64 << 20)
    assert 0 < order.cpu_limit < 120
    assert Path(order.work) == tmp_path


def test_wav_has_room_for_all_its_samples(ordered: Callable[..., Order], tmp_path: Path) -> None:
    hour = Media(operation="transcode", container="wav", audio_codec="pcm_s16le", duration_s=3600)

    order = ordered(hour, fetched(make_audio(tmp_path / "a.m4a", 3), "audio"))

    assert order.output_limit > 3600 * 48000 * 4


@pytest.mark.parametrize("storage", ["local", "s3"])
def test_only_what_stays_on_this_disk_is_forced_to_it(
    ordered: Callable[..., Order], tmp_path: Path, storage: Any
) -> None:
    video = fetched(make_video(tmp_path / "v.mp4", 3, (64, 64)), "video")

    assert ordered(MEDIA, video, settings=Settings(storage_backend=storage)).durable == (storage == "local")


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], MuxStage]:
    """A stage whose child says that it made a file of this path."""

    def make(path: str) -> MuxStage:
        found = Finished(main=Made(path, 1, "mp4", "video/mp4"), container="mp4")
        monkeypatch.setattr(Engine, "run", lambda *_: found)
        monkeypatch.setattr(Engine, "warm", lambda *_: None)
        return MuxStage(Settings(data_dir=tmp_path))

    return make


@pytest.mark.parametrize("path", ["../other/secret", "secret", "mux-1.", "mux-1.link", "/etc/passwd", "mux-10.mp4"])
def test_a_file_that_it_was_not_to_make_is_not_handed_on(
    context: Callable[..., StepContext], lying: Callable[[str], MuxStage], tmp_path: Path, path: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "mux-10.mp4").write_text("another epoch's")
    video = fetched(make_video(tmp_path / "video.mp4", 3, (64, 64)), "video")
    (tmp_path / "mux-1.link").symlink_to("/etc/passwd")

    with pytest.raises(EngineCrashed):
        lying(path).run(context(MEDIA, video))
