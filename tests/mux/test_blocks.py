"""The output's blocks: set aside while it is made, given back when it is whole, and never in anyone's way."""

from pathlib import Path

import pytest

from downloader.handoff import Media
from downloader.mux import blocks, extras, remux
from downloader.mux.task import Task
from tests.media import make_muxed
from tests.mux.conftest import fetched
from tests.mux.packets import digests
from tests.waiting import until

EXPECTED = 64 << 20


def held(path: Path) -> int:
    """Bytes of disk that the file has."""
    return path.stat().st_blocks * 512


def test_blocks_are_set_aside_and_what_is_left_over_goes_back(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with blocks.ahead(path, EXPECTED, durable=True), path.open("wb", buffering=0) as file:
        file.write(bytes(20 << 20))
        try:
            until(lambda: held(path) >= EXPECTED, seconds=2)
        except AssertionError:
            pytest.skip("this file system sets no blocks aside")
        file.write(b"end")

    assert path.stat().st_size == (20 << 20) + 3
    assert held(path) < EXPECTED
    assert path.read_bytes()[-4:] == b"\0end"


def test_a_file_that_is_never_made_is_waited_for_by_no_one(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), blocks.ahead(tmp_path / "file", EXPECTED, durable=True):
        raise RuntimeError

    assert not list(tmp_path.iterdir())


def test_a_large_file_has_the_same_packets_and_its_media_begins_where_writes_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_muxed(tmp_path / "m.mp4", 6, (160, 90))
    tracks, media = (fetched(source, "muxed"),), Media(operation="copy", container="mp4")
    along = extras.load(tmp_path, tracks, media)
    monkeypatch.setattr(blocks, "LARGE", 1)

    remux.remux(Task(tmp_path, tmp_path / "out.mp4", tracks, media, along, lambda done, total: None, durable=True))

    made = tmp_path / "out.mp4"
    assert {kind: digests(made, kind) for kind in ("video", "audio")} == {
        kind: digests(source, kind) for kind in ("video", "audio")
    }
    assert (made.read_bytes().index(b"mdat") + 4) % (256 << 10) == 0
