"""Folders of jobs: which a sweep removes, and that nobody removes one which another looks at."""

import errno
import os
import shutil
from pathlib import Path
from threading import Event, Thread

import pytest

from downloader.artifacts import Swept
from downloader.artifacts.folders import held, remove_ended, sweep_folders
from downloader.errors import StorageFailed, StoreUnavailable


def test_a_sweep_leaves_what_is_not_a_jobs(tmp_path: Path) -> None:
    for name in ("lost+found", "short", "a.file.with.dots", "0123456789ab"):
        (tmp_path / name).mkdir()
    (tmp_path / "0123456789cd").write_text("a file")
    outside = tmp_path.with_name("outside")
    outside.mkdir(exist_ok=True)
    (tmp_path / "0123456789ef").symlink_to(outside)
    swept = sweep_folders(tmp_path, lambda _ids: ())
    assert swept.jobs == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0123456789cd",
        "0123456789ef",
        "a.file.with.dots",
        "lost+found",
        "short",
    ]


def test_a_sweep_asks_in_batches(tmp_path: Path) -> None:
    for number in range(1201):
        (tmp_path / f"job-{number:08}").mkdir()
    asked: list[int] = []

    def keep(ids: list[str]) -> list[str]:
        asked.append(len(ids))
        return [job_id for job_id in ids if job_id.endswith("0")]

    assert sweep_folders(tmp_path, keep, dry_run=True).jobs == 1201 - 121
    assert [size for size in asked if size > 1] == [500, 500, 201]


def test_a_folder_that_comes_to_life_while_it_is_swept_stays(tmp_path: Path) -> None:
    (tmp_path / "0123456789ab").mkdir()
    answers = iter([(), ["0123456789ab"]])
    assert sweep_folders(tmp_path, lambda _ids: next(answers)) == Swept()
    assert (tmp_path / "0123456789ab").is_dir()


def test_a_removal_waits_for_whoever_holds_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "0123456789ab"
    folder.mkdir()
    ended, asked, freed = True, Event(), []

    def look() -> bool:
        asked.set()
        return ended

    remover = Thread(target=lambda: freed.append(remove_ended(folder, look)))
    with held(folder) as there:
        assert there
        remover.start()
        assert not asked.wait(0.1)
        ended = False
    remover.join()
    assert freed == [None]
    assert folder.is_dir()


def test_one_of_two_removals_at_once_counts(tmp_path: Path) -> None:
    folder = tmp_path / "0123456789ab"
    folder.mkdir()
    (folder / "file").write_bytes(bytes(10_000))
    freed: list[int | None] = []
    threads = [Thread(target=lambda: freed.append(remove_ended(folder, lambda: True))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found or 0 for found in freed)[-2:] >= [0, 10_000]
    assert [found for found in freed if found is not None] == [max(found or 0 for found in freed)]
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_remover_left_is_swept(tmp_path: Path) -> None:
    left = tmp_path / ".0123456789ab.0badcafe"
    left.mkdir()
    (left / "file").write_bytes(bytes(10_000))
    assert sweep_folders(tmp_path, lambda ids: ids, dry_run=True).bytes_freed >= 10_000
    assert left.exists()
    assert sweep_folders(tmp_path, lambda ids: ids).bytes_freed >= 10_000
    assert not left.exists()


def test_one_folder_that_resists_keeps_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("0123456789ab", "0123456789cd"):
        (tmp_path / name).mkdir()
    rmtree = shutil.rmtree

    def resist(folder: Path) -> None:
        if "89ab" in folder.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rmtree(folder)

    monkeypatch.setattr(shutil, "rmtree", resist)
    swept = sweep_folders(tmp_path, lambda _ids: ())
    assert swept.jobs == 1
    assert [(item.what, type(item.error)) for item in swept.resisted] == [("0123456789ab", StorageFailed)]
    assert not list(tmp_path.glob("*89cd*"))
    # It is on its way out by now, and resists there as well.
    (tmp_path / ".0123456789ef.0badcafe").mkdir()
    (again,) = sweep_folders(tmp_path, lambda _ids: ()).resisted
    assert "0123456789ab" in again.what
    assert not list(tmp_path.glob("*89ef*"))
    monkeypatch.undo()
    sweep_folders(tmp_path, lambda _ids: ())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES], ids=errno.errorcode.get)
def test_one_folder_that_cannot_be_moved_keeps_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    for name in ("0123456789ab", "0123456789cd"):
        (tmp_path / name).mkdir()
    rename = Path.rename

    def resist(self: Path, target: Path) -> Path:
        if "89ab" in self.name:
            raise OSError(number, os.strerror(number))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", resist)
    swept = sweep_folders(tmp_path, lambda _ids: ())
    assert (swept.jobs, [item.what for item in swept.resisted]) == (1, ["0123456789ab"])


def test_a_sweep_ends_where_the_database_does_not_answer(tmp_path: Path) -> None:
    (tmp_path / "0123456789ab").mkdir()

    def keep(ids: list[str]) -> list[str]:
        if len(asked) == 1:
            raise StoreUnavailable("Away.")
        asked.append(ids)
        return []

    asked: list[list[str]] = []
    with pytest.raises(StoreUnavailable):
        sweep_folders(tmp_path, keep)
    assert (tmp_path / "0123456789ab").is_dir()


def test_a_folder_that_goes_while_it_is_judged_was_gone(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()

    def ended() -> bool:
        folder.rmdir()
        return True

    assert remove_ended(folder, ended) is None
    assert not list(tmp_path.iterdir())
