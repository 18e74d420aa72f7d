"""What has ended leaves nothing behind; what cannot be removed, and storage that is away, hold up nothing else."""

import errno
import os
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from downloader import sweep as sweep_module
from downloader.artifacts import open_store
from downloader.errors import StorageFailed, StoreUnavailable
from downloader.sweep import Removed, Sweep
from downloader.vault import Vault
from stages import sweeps, worker
from stages.identity import Worker
from stages.runner import Parts
from stages.sweeps import Chore, chores
from tests.stages.driving import claim, done_job
from tests.store.conftest import new
from tests.waiting import until

PAST = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def sweep(house):
    return Sweep(house.settings, house.store, open_store(house.settings), house.clock)


def expired(house, key, *, seconds=0):
    """A job whose artifact is past its time, and the artifact's file."""
    ends = PAST + timedelta(seconds=seconds)
    job = done_job(house.store, house.settings.artifacts_dir, new(key), expires_at=ends)
    path = house.settings.artifacts_dir / job.id / "a.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    return job, path


def resisting(monkeypatch, name):
    """Let the folder ``name`` resist being removed, as one with an immutable file does."""
    rmtree = shutil.rmtree

    def resist(folder, **kwargs):
        if name in str(folder):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        rmtree(folder, **kwargs)

    monkeypatch.setattr(shutil, "rmtree", resist)


def test_work_folders_of_ended_and_unknown_jobs_go(house, sweep):
    running, ended = house.post("a"), house.post("b")
    house.store.cancel(ended)
    for name in (running, ended, "unknown-job"):
        (house.settings.jobs_dir / name).mkdir(parents=True)
    assert sweep.work_folders().work_folders == 2
    assert [item.name for item in house.settings.jobs_dir.iterdir()] == [running]


def test_files_without_a_job_go(house, sweep):
    folder = house.settings.artifacts_dir / ("0f" * 16)
    folder.mkdir(parents=True)
    assert sweep.orphans().orphans == 1
    assert not folder.exists()


def test_an_expired_artifact_goes_and_the_job_says_so(house, sweep):
    job, path = expired(house, "k")
    assert sweep.expired().expired == 1
    assert not path.exists()
    assert house.store.job(job.id).artifact is None


def test_a_dry_run_removes_nothing(house):
    (house.settings.jobs_dir / "unknown-job").mkdir(parents=True)
    (house.settings.jobs_dir / "unknown-job" / "half").write_bytes(bytes(12_345))
    _, path = expired(house, "k")
    sweep = Sweep(house.settings, house.store, open_store(house.settings), house.clock, dry_run=True)
    removed = sweep.everything()
    assert (removed.work_folders, removed.expired) == (1, 1)
    assert removed.bytes_freed >= 12_345
    assert (house.settings.jobs_dir / "unknown-job" / "half").exists()
    assert path.exists()


def test_a_batch_of_artifacts_that_resist_keeps_no_later_one(house, sweep, monkeypatch):
    monkeypatch.setattr(sweep_module, "_BATCH", 2)
    # Of a store that is set no more, and the first to be asked for each time.
    lost = [expired(house, f"lost{number}", seconds=number)[0] for number in range(3)]
    house.store.db.rows("UPDATE downloader_jobs SET storage = 's3' RETURNING 1")
    gone, path = expired(house, "gone", seconds=9)
    with structlog.testing.capture_logs() as said:
        removed = sweep.expired()
    assert (removed.expired, removed.failed) == (1, 3)
    assert not path.exists()
    assert house.store.job(gone.id).artifact is None
    assert [line["what"] for line in said if line["event"] == "not_removed"] == [job.id for job in lost]


def test_a_bug_with_one_artifact_keeps_no_other(house, sweep, monkeypatch):
    bad, _ = expired(house, "bad")
    _, path = expired(house, "good", seconds=1)
    missing = house.store.artifact_missing
    monkeypatch.setattr(
        house.store, "artifact_missing", lambda job, locator: 1 / 0 if job == bad.id else missing(job, locator)
    )
    with structlog.testing.capture_logs() as said:
        assert sweep.expired().failed == 1
    assert not path.exists()
    assert [line["log_level"] for line in said if line["event"] == "not_removed"] == ["error"]


def test_a_work_folder_that_resists_keeps_no_other_and_is_named(house, sweep, monkeypatch):
    for name in ("resisting", "yielding"):
        (house.settings.jobs_dir / name).mkdir(parents=True)
    resisting(monkeypatch, "resisting")
    with structlog.testing.capture_logs() as said:
        removed = sweep.work_folders()
    assert (removed.work_folders, removed.failed) == (1, 1)
    assert [(line["what"], line["log_level"]) for line in said if line["event"] == "not_removed"] == [
        ("resisting", "warning")
    ]


def test_an_orphan_that_resists_keeps_no_other(house, sweep, monkeypatch):
    for name in ("0a" * 16, "0b" * 16):
        (house.settings.artifacts_dir / name).mkdir(parents=True)
    resisting(monkeypatch, "0a" * 16)
    removed = sweep.orphans()
    assert (removed.orphans, removed.failed) == (1, 1)


def test_a_store_that_is_away_keeps_no_other_from_being_swept(house):
    class Away:
        kind = "s3"

        def sweep(self, _sweep):
            raise StorageFailed("The artifact store does not answer.")

    (house.settings.artifacts_dir / ("0f" * 16)).mkdir(parents=True)
    settings = replace(house.settings, storage_backend="s3")
    removed = Sweep(settings, house.store, Away(), house.clock).orphans()
    assert (removed.orphans, removed.failed) == (1, 1)


def test_each_kind_of_sweep_is_a_chore_of_its_own(sweep):
    assert {chore.do for chore in chores(sweep)} == {sweep.work_folders, sweep.expired, sweep.orphans}


def test_what_failed_is_tried_again_later_and_seen():
    def raising(error):
        def do():
            raise error

        return do

    for do, pause, event in (
        (Removed, 5.0, None),
        (lambda: Removed(failed=1), 60.0, None),
        (raising(StoreUnavailable("Away.")), 5.0, "sweep_put_off"),
        (raising(ZeroDivisionError()), 60.0, "sweep_failed"),
    ):
        with structlog.testing.capture_logs() as said:
            assert Chore("name", do, 1.0, 5.0).run_once() == pause
        assert [line["event"] for line in said] == ([event] if event else [])


class Silent:
    """Storage that takes requests and answers none, until it is told to."""

    kind = "local"

    def __init__(self):
        self.asked, self.answers = threading.Event(), threading.Event()

    def delete(self, _artifact):
        self.asked.set()
        self.answers.wait()
        return 0

    def delete_job(self, _job_id):
        return 0

    def sweep(self, _sweep):
        return self.delete(None)


@contextmanager
def running_janitor(house, monkeypatch, files):
    """The janitor as its process runs it, over the storage ``files``."""
    monkeypatch.setattr(worker, "open_store", lambda _settings: files)
    monkeypatch.setattr(sweeps, "_SECONDS", 0.05)
    vault = Vault.from_settings(house.settings)
    parts = Parts(
        settings=house.settings,
        store=house.store,
        broker=house.broker,
        vault=vault,
        clock=house.clock,
        stop=house.stop,
    )
    thread = threading.Thread(target=worker._run_janitor, args=(Worker("janitor", "j", 1), parts))
    thread.start()
    try:
        yield
    finally:
        house.stop.set()
        files.answers.set()
        thread.join(10)
    assert not thread.is_alive()


def test_steps_are_taken_from_the_dead_while_storage_does_not_answer(house, monkeypatch):
    files = Silent()
    expired(house, "old")
    with running_janitor(house, monkeypatch, files):
        assert files.asked.wait(10)
        job_id = house.post()
        claim(house.store, job_id, lease=0.0)
        (house.settings.jobs_dir / "unknown-job").mkdir(parents=True)
        until(lambda: house.step(job_id)["state"] == "ready", 10)
        until(lambda: not (house.settings.jobs_dir / "unknown-job").exists(), 10)
