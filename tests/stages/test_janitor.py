"""What was lost moves again, what has ended leaves nothing behind."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis

from downloader.artifacts import open_store
from downloader.job import Entry
from downloader.states import Status
from downloader.sweep import Sweep
from stages import recovery
from stages.identity import Worker
from stages.janitor import GRACE_SECONDS, Janitor
from tests.stages.driving import claim, done_job
from tests.store.conftest import new


@pytest.fixture
def janitor(house):
    return Janitor(
        house.settings,
        store=house.store,
        broker=house.broker,
        clock=house.clock,
        sweep=Sweep(house.settings, house.store, open_store(house.settings), house.clock),
        worker=Worker("janitor", "j", 1),
    )


def age(house, seconds):
    """Let every time in the database lie further back."""
    house.store.db.rows(
        "UPDATE downloader_steps SET ready_at = ready_at - %(s)s * interval '1 second',"
        " lease_until = lease_until - %(s)s * interval '1 second' RETURNING 1",
        {"s": seconds},
    )


def test_an_emptied_redis_gets_every_ready_step_again(house, janitor, redis_url):
    jobs = {house.post(f"k{number}") for number in range(5)}
    with redis.Redis.from_url(redis_url) as raw:
        raw.delete(house.broker.key("resolve"))
    janitor.run_once()
    assert house.broker.entries("resolve") == set(), "fresh ones may be on their way"
    age(house, GRACE_SECONDS + 1)
    janitor.run_once()
    assert {entry.job_id for entry in house.broker.entries("resolve")} == jobs
    janitor.run_once()
    assert house.broker.undelivered("resolve") == 5, "none is added twice"


def test_one_missing_entry_among_many_is_found(house, janitor):
    jobs = [house.post(f"k{number}") for number in range(5)]
    house.broker.settle(house.deliver())
    age(house, GRACE_SECONDS + 1)
    janitor.run_once()
    assert {entry.job_id for entry in house.broker.entries("resolve")} == set(jobs)


def test_a_lapsed_lease_makes_the_step_ready_and_the_third_poisons_the_job(house, janitor):
    job_id = house.post()
    for crashes in (1, 2):
        house.broker.settle(house.deliver())
        assert claim(house.store, job_id)
        age(house, 60)
        janitor.run_once()
        assert house.step(job_id)["crashes"] == crashes
        assert house.broker.entries("resolve") == {Entry("resolve", job_id, "resolve")}
    claim(house.store, job_id)
    age(house, 60)
    janitor.run_once()
    job = house.store.job(job_id)
    assert (job.status, job.error_code) == (Status.FAILED, "poisoned")


def test_after_an_outage_the_living_get_time_to_renew(house, janitor):
    job_id = house.post()
    claim(house.store, job_id)
    age(house, 60)
    house.clock.offset += 30
    janitor.run_once()
    assert house.step(job_id)["state"] == "running"
    for _ in range(4):
        house.clock.offset += 5
        janitor.run_once()
    assert house.step(job_id)["state"] == "ready"


def test_ticks_that_are_slow_beside_a_short_lease_are_no_outage(house, janitor):
    janitor._settings = replace(house.settings, lease_seconds=1.0)
    job_id = house.post()
    claim(house.store, job_id)
    age(house, 60)
    house.clock.offset += 1.5
    janitor.run_once()
    assert house.step(job_id)["state"] == "ready"


def test_entries_read_by_the_dead_are_added_anew(house, janitor):
    job_id = house.post()
    house.deliver(consumer="dead/0")
    recovery.succeed(house.store, house.broker, "dead", "resolve", 1)
    assert house.deliver(consumer="heir/0").entry == Entry("resolve", job_id, "resolve")


def test_a_successor_takes_running_steps_at_once(house):
    job_id = house.post()
    house.deliver(consumer="dead/0")
    claim(house.store, job_id, worker="dead/0")
    recovery.succeed(house.store, house.broker, "dead", "resolve", 1)
    step = house.step(job_id)
    assert (step["state"], step["crashes"]) == ("ready", 1)
    assert house.deliver(consumer="heir/0").entry.job_id == job_id


def test_work_folders_of_ended_and_unknown_jobs_go(house, janitor):
    running, ended = house.post("a"), house.post("b")
    house.store.cancel(ended)
    for name in (running, ended, "unknown-job"):
        (house.settings.jobs_dir / name).mkdir(parents=True)
    janitor.run_once()
    assert [item.name for item in house.settings.jobs_dir.iterdir()] == [running]


def test_files_without_a_job_go_within_a_janitors_first_minute(house, janitor):
    folder = house.settings.artifacts_dir / ("0f" * 16)
    folder.mkdir(parents=True)
    for _ in range(61):
        janitor.run_once()
    assert not folder.exists()


def test_an_expired_artifact_goes_and_the_job_says_so(house, janitor):
    past = datetime.now(UTC) - timedelta(seconds=1)
    job = done_job(house.store, house.settings.artifacts_dir, new(), expires_at=past)
    path = house.settings.artifacts_dir / job.id / "a.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    janitor.run_once()
    assert not path.exists()
    assert house.store.job(job.id).artifact is None


def test_a_dry_run_removes_nothing(house):
    (house.settings.jobs_dir / "unknown-job").mkdir(parents=True)
    (house.settings.jobs_dir / "unknown-job" / "half").write_bytes(bytes(12_345))
    sweep = Sweep(house.settings, house.store, open_store(house.settings), house.clock, dry_run=True)
    removed = sweep.everything()
    assert removed.work_folders == 1
    assert removed.bytes_freed >= 12_345
    assert (house.settings.jobs_dir / "unknown-job" / "half").exists()
