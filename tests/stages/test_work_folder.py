"""A failed job's work folder, when an operator runs the job again at the very moment of its failure."""

import threading

import pytest

from downloader.again import run_again
from downloader.artifacts import open_store
from downloader.errors import SourceGone
from downloader.states import Status
from downloader.sweep import Sweep
from stages.contract import StepResult
from tests.stages.driving import PLAN, claim


def fail(step):
    (step.work / "half").write_bytes(b"12345")
    raise SourceGone("The host does not have it any more.")


def again(house, job_id):
    return run_again(house.store, None, house.store.job(job_id), house.settings.jobs_dir / job_id)


def test_a_job_that_runs_again_before_its_folder_went_keeps_it(house, monkeypatch):
    job_id, commit = house.post(), house.store.fail

    def fail_and_run_again(*arguments, **kwargs):
        failed = commit(*arguments, **kwargs)
        again(house, job_id)
        return failed

    monkeypatch.setattr(house.store, "fail", fail_and_run_again)
    house.runner(fail).run(house.deliver(), "w/0")
    assert house.store.job(job_id).status is Status.QUEUED
    assert (house.settings.jobs_dir / job_id / "half").exists()


def test_a_failed_job_leaves_no_folder(house):
    job_id = house.post()
    house.runner(fail).run(house.deliver(), "w/0")
    assert list(house.settings.jobs_dir.iterdir()) == []
    assert again(house, job_id).kept == ()


@pytest.fixture
def failed(house):
    """A job that failed a moment ago, its folder still there with all that its first step left."""
    job_id = house.post()
    house.runner(lambda _step: StepResult(outputs=PLAN)).run(house.deliver(), "w/0")
    house.store.fail(claim(house.store, job_id, "fetch"), "source_gone", "Gone.")
    (house.settings.jobs_dir / job_id / "half").write_bytes(b"12345")
    return job_id


@pytest.fixture
def sweep(house):
    return Sweep(house.settings, house.store, open_store(house.settings), house.clock)


def test_a_sweep_that_looked_before_the_job_ran_again_leaves_its_folder(house, failed, sweep, monkeypatch):
    look, kept = house.store.unfinished_of, []

    def look_then_run_again(job_ids):
        found = look(job_ids)
        if not kept:
            kept.extend(again(house, failed).kept)
        return found

    monkeypatch.setattr(house.store, "unfinished_of", look_then_run_again)
    assert sweep.work_folders().work_folders == 0
    assert kept == ["resolve"]
    assert (house.settings.jobs_dir / failed / "half").exists()


def test_a_sweep_waits_for_an_operator_who_looks_at_the_folder(house, failed, sweep, monkeypatch):
    look, commit, looked, outcomes = house.store.unfinished_of, house.store.run_again, threading.Event(), []

    def look_and_say_so(job_ids):
        found = look(job_ids)
        looked.set()
        return found

    def commit_after_the_sweep_has_looked(*arguments):
        sweeper.start()
        assert looked.wait(10)
        return commit(*arguments)

    monkeypatch.setattr(house.store, "unfinished_of", look_and_say_so)
    monkeypatch.setattr(house.store, "run_again", commit_after_the_sweep_has_looked)
    sweeper = threading.Thread(target=lambda: outcomes.append(sweep.work_folders()))
    assert again(house, failed).kept == ("resolve",)
    sweeper.join(10)
    assert [outcome.work_folders for outcome in outcomes] == [0]
    assert (house.settings.jobs_dir / failed / "half").exists()
