"""What was lost moves again, and the living keep what is theirs."""

from dataclasses import replace

import pytest
import redis

from downloader.errors import StoreUnavailable
from downloader.job import Entry
from downloader.states import Status
from stages import recovery
from stages.identity import Worker
from stages.janitor import GRACE_SECONDS, Janitor
from stages.pulse import Pulse
from tests.stages.driving import claim


@pytest.fixture
def pulse(house):
    return Pulse(house.store, house.settings, house.clock, Worker("janitor", "j", 1))


@pytest.fixture
def janitor(house, pulse):
    return Janitor(house.settings, store=house.store, broker=house.broker, pulse=pulse)


def age(house, seconds):
    """Let every time of a step lie further back."""
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


def stopped(house, pulse):
    """The janitor's process is stopped, or Postgres does not answer."""
    house.clock.offset += 30


def asleep(house, pulse):
    """The machine sleeps: its monotonic clock stands still, the time of day goes on."""
    pulse.beat()
    house.store.db.rows("UPDATE downloader_workers SET seen_at = seen_at - interval '30 seconds' RETURNING 1")


def read_only(house, pulse):
    """Postgres is read, and takes no writes: pings come back, beats do not."""
    beat = house.store.here
    house.store.here = refuse
    for _ in range(30):
        house.clock.offset += 1
        with pytest.raises(StoreUnavailable):
            pulse.beat()
    house.store.here = beat


def refuse(*_arguments):
    raise StoreUnavailable("Postgres cannot be used: cannot execute INSERT in a read-only transaction")


@pytest.mark.parametrize("absence", [stopped, asleep, read_only], ids=lambda absence: absence.__name__)
def test_after_an_absence_the_living_get_time_to_renew(house, janitor, pulse, absence):
    job_id = house.post()
    claim(house.store, job_id)
    age(house, 60)
    absence(house, pulse)
    janitor.run_once()
    assert house.step(job_id)["state"] == "running"
    for _ in range(4):
        house.clock.offset += 5
        janitor.run_once()
    assert house.step(job_id)["state"] == "ready"


def test_a_janitor_that_is_slow_is_no_absence(house, janitor, pulse, monkeypatch):
    """As when Redis does not answer, or there is much to add: its pulse goes on meanwhile."""

    def slow(_grace):
        for _ in range(60):
            house.clock.offset += 1
            pulse.beat()
        return {}

    monkeypatch.setattr(house.store, "due_counts", slow)
    job_id = house.post()
    janitor.run_once()
    claim(house.store, job_id)
    age(house, 60)
    janitor.run_once()
    assert house.step(job_id)["state"] == "ready"


def test_ticks_that_are_slow_beside_a_short_lease_are_no_outage(house):
    settings = replace(house.settings, lease_seconds=1.0)
    pulse = Pulse(house.store, settings, house.clock, Worker("janitor", "j", 1))
    house.clock.offset += 1.5
    assert pulse.beat()


def test_a_chore_that_fails_holds_up_no_other(house, janitor, monkeypatch):
    monkeypatch.setattr(house.store, "lapsed", lambda: 1 / 0)
    job_id = house.post()
    house.broker.settle(house.deliver())
    age(house, GRACE_SECONDS + 1)
    janitor.run_once()
    assert house.broker.entries("resolve") == {Entry("resolve", job_id, "resolve")}


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


def began(house, seconds):
    house.store.db.rows(
        "UPDATE downloader_jobs SET started_at = now() - %(s)s * interval '1 second' RETURNING 1", {"s": seconds}
    )


def test_a_job_whose_time_is_over_ends_while_it_waits(house, janitor):
    limit = house.settings.job_time_limit_seconds
    job_id = house.post()
    house.store.give_back(claim(house.store, job_id), delay=10 * limit)
    began(house, limit - 60)
    janitor.run_once()
    assert house.store.job(job_id).status is Status.RUNNING
    began(house, limit + 1)
    for _ in range(5):
        janitor.run_once()
    job = house.store.job(job_id)
    assert (job.status, job.error_code, job.error) == (
        Status.FAILED,
        "timed_out",
        f"The job took longer than the {limit} s it may (JOB_TIME_LIMIT_SECONDS).",
    )
    assert house.step(job_id)["state"] == "cancelled"


def test_a_step_at_work_is_left_to_its_worker_when_the_time_is_over(house, janitor):
    job_id = house.post()
    held = claim(house.store, job_id)
    began(house, house.settings.job_time_limit_seconds + 1)
    janitor.run_once()
    assert held.key in house.store.beat([held], 15)


def test_a_job_that_waits_for_its_first_step_has_all_its_time(house, janitor):
    job_id = house.post()
    house.store.db.rows("UPDATE downloader_jobs SET queued_at = now() - interval '1 year' RETURNING 1")
    janitor.run_once()
    assert house.store.job(job_id).status is Status.QUEUED
