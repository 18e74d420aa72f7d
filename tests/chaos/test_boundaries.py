"""SIGKILL at every boundary of every stage: the job is done all the same, once, with the right packets."""

import os
import signal

import pytest

from downloader.job import Entry
from tests.chaos.conftest import STEPS
from tests.waiting import until

EVERYWHERE = ("read", "claimed", "ran", "committed", "added", "acked")
POINTS = [(step, point) for step in STEPS for point in EVERYWHERE if (step, point) != ("publish", "added")]
INSIDE = [
    ("fetch", "first-byte"),
    ("fetch", "half"),
    ("fetch", "complete"),
    ("fetch", "journal"),
    ("publish", "placed"),
]

# After the commit nothing is repeated; before it the step runs again.
REPEATED = {"claimed", "ran", "first-byte", "half", "complete", "journal", "placed"}


@pytest.mark.parametrize(("step", "point"), POINTS + INSIDE, ids=lambda value: value)
def test_a_kill_costs_an_attempt_and_nothing_else(chaos, expected, step, point):
    chaos.plan(step, point)
    job_id = chaos.post()
    job = chaos.service.ended(job_id, 30)
    until(lambda: chaos.struck(step, point), 5)
    assert (job["status"], job.get("errorCode")) == ("done", None)
    assert chaos.packets(job_id) == expected
    row = chaos.steps(job_id)[step]
    assert (row["attempts"], row["crashes"]) == ((2, 1) if point in REPEATED else (1, 0))
    assert len(list((chaos.service.data / "artifacts" / job_id).iterdir())) == 1


@pytest.mark.parametrize("step", STEPS)
def test_a_frozen_worker_that_wakes_late_changes_nothing(chaos, expected, step):
    chaos.plan(step, "ran", "stop")
    job_id = chaos.post()
    try:
        job = chaos.service.ended(job_id, 30)
        done = chaos.steps(job_id)
    finally:
        for pid in chaos.struck(step, "ran"):
            os.kill(pid, signal.SIGCONT)
    assert chaos.struck(step, "ran")
    assert job["status"] == "done"
    assert done[step]["epoch"] == 2, done
    # The sleeper has woken when its slot takes part again: an entry for each slot has to be worked off.
    until(chaos.service.healthy, 20)
    again = chaos.post()
    assert chaos.service.ended(again, 30)["status"] == "done"
    assert chaos.steps(job_id) == done
    assert chaos.packets(job_id) == expected


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("point", ["claimed", "ran"])
def test_a_cancel_while_a_worker_is_frozen_wins(chaos, step, point):
    chaos.plan(step, point, "stop")
    job_id = chaos.post()
    until(lambda: chaos.struck(step, point), 20)
    assert chaos.service.request("POST", f"/jobs/{job_id}/cancel").status == 202
    for pid in chaos.struck(step, point):
        os.kill(pid, signal.SIGCONT)
    until(chaos.nothing_left, 10)
    job = chaos.service.job(job_id)
    assert (job["status"], job["errorCode"]) == ("failed", "cancelled")
    assert "artifactUrl" not in job


def test_three_crashes_poison_the_job_and_no_other(chaos):
    chaos.plan("fetch", "claimed", times=3)
    job_id = chaos.post()
    job = chaos.service.ended(job_id)
    assert (job["status"], job["errorCode"]) == ("failed", "poisoned")
    other = chaos.post()
    assert chaos.service.ended(other)["status"] == "done"


def test_a_finished_step_delivered_again_still_moves_the_job_on(chaos, expected):
    from downloader.broker import Broker

    job_id = chaos.post()
    chaos.service.ended(job_id)
    broker = Broker(chaos.service.redis_url, "downloader:queue")
    broker.add([Entry(step, job_id, step) for step in STEPS] * 3)
    until(lambda: all(not broker.entries(step) for step in STEPS), 20)
    broker.close()
    assert chaos.packets(job_id) == expected
    assert {row["attempts"] for row in chaos.steps(job_id).values()} == {1}
