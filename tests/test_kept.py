"""What is made once in DATA_DIR is one and the same for whoever shares it."""

import errno
import os
import platform
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from downloader.errors import StorageRefused
from downloader.kept import kept
from downloader.room import volume_id


def test_it_is_made_once_and_kept(tmp_path):
    path = tmp_path / "not" / "there" / "yet"
    numbers = count()
    assert [kept(path, lambda: f"{next(numbers)}") for _ in range(3)] == ["0", "0", "0"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def all_at_once(path, processes=8):
    numbers, ready = count(), threading.Barrier(processes)

    def make():
        ready.wait()
        return f"{next(numbers)}"

    with ThreadPoolExecutor(processes) as pool:
        return set(pool.map(lambda _: kept(path, make), range(processes)))


def test_many_that_make_it_at_once_have_the_same(tmp_path):
    path = tmp_path / "it"
    assert all_at_once(path) == {path.read_text()}
    assert list(tmp_path.iterdir()) == [path]


def test_where_there_are_no_hard_links_it_is_kept_all_the_same(tmp_path, monkeypatch):
    def refuse(*_arguments, **_kwargs):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "it"
    assert [kept(path, lambda: "a"), kept(path, lambda: "b")] == ["a", "a"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_volume_is_the_same_for_every_host_that_shares_it(tmp_path, monkeypatch):
    first = volume_id(tmp_path / "data")
    monkeypatch.setattr(platform, "node", lambda: "other-container")
    assert volume_id(tmp_path / "data") == first
    assert volume_id(tmp_path / "other") != first
    (tmp_path / "data").rename(tmp_path / "mounted elsewhere")
    assert volume_id(tmp_path / "mounted elsewhere") == first


def test_other_users_of_a_volume_may_read_its_id(tmp_path):
    volume_id(tmp_path)
    assert (tmp_path / "volume.id").stat().st_mode & 0o777 == 0o644


def test_a_folder_that_cannot_be_written_is_an_error_of_ours(tmp_path, monkeypatch):
    def refuse(*_arguments, **_kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageRefused):
        volume_id(tmp_path)
