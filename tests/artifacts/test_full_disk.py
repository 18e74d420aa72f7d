"""Publishing to a volume that really is full, whichever call is the first to be told so."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from downloader.artifacts import ArtifactStore, open_store
from downloader.config import Settings
from downloader.errors import InsufficientStorage
from downloader.job import Artifact
from tests.artifacts.conftest import JOB, publication
from tests.volumes import Volume, volume

SIZE = 8 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Volume]:
    with volume(tmp_path / "volume", size=SIZE, names=40) as found:
        yield found


def put(store: ArtifactStore, source: Path) -> Artifact:
    return store.put(source, publication(), progress=lambda _done, _total: None, check=lambda: None)


def work_file(data: Path, size: int) -> Path:
    source = data / "jobs" / JOB / "out.1.mp4"
    source.parent.mkdir(parents=True)
    source.write_bytes(os.urandom(size))
    return source


def refused(store: ArtifactStore, source: Path, artifacts: Path) -> None:
    """The publish ends with the figures of a full disk, and leaves neither file nor folder."""
    with pytest.raises(InsufficientStorage) as raised:
        put(store, source)
    assert raised.value.required == source.stat().st_size
    assert str(raised.value.required) in raised.value.message
    assert list(artifacts.rglob("*")) == []


def test_no_room_for_the_folder(disk: Volume) -> None:
    source = work_file(disk.path, 1000)
    store = open_store(Settings(data_dir=disk.path, storage_backend="local"))
    names = disk.take_every_name()
    refused(store, source, disk.path / "artifacts")
    (names / "0").unlink()
    (names / "1").unlink()
    refused(store, source, disk.path / "artifacts")  # the folders can be made, and the link cannot
    for name in names.iterdir():
        name.unlink()
    assert store.locate(put(store, source))


@pytest.mark.parametrize("full", [Volume.fill, Volume.take_every_name])
def test_no_room_on_another_volume(disk: Volume, tmp_path: Path, full: Callable[[Volume], Path]) -> None:
    data = tmp_path / "data"
    source = work_file(data, SIZE // 2)
    (data / "artifacts").symlink_to(disk.path)
    store = open_store(Settings(data_dir=data, storage_backend="local"))
    taken = full(disk)
    with pytest.raises(InsufficientStorage) as raised:
        put(store, source)
    assert raised.value.required == SIZE // 2
    assert [path.name for path in disk.path.iterdir()] == [taken.name]
    if taken.is_file():
        # Room for a part of it: the copy is begun, and what was copied goes at once.
        os.truncate(taken, SIZE * 3 // 4)
        with pytest.raises(InsufficientStorage) as raised:
            put(store, source)
        assert [path.name for path in disk.path.iterdir()] == [taken.name]
        assert os.statvfs(disk.path).f_bavail * 4096 >= SIZE // 4


def test_what_was_full_takes_it_when_there_is_room(disk: Volume, tmp_path: Path) -> None:
    source = work_file(tmp_path / "data", SIZE // 2)
    (tmp_path / "data" / "artifacts").symlink_to(disk.path)
    store = open_store(Settings(data_dir=tmp_path / "data", storage_backend="local"))
    taken = disk.fill()
    with pytest.raises(InsufficientStorage):
        put(store, source)
    taken.unlink()
    info = store.head(put(store, source))
    assert info is not None
    assert info.size == SIZE // 2
