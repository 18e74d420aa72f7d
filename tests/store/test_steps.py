"""Claims, epochs, leases and endings on a real Postgres."""

from datetime import UTC, datetime, timedelta

import pytest

from downloader.handoff import Achieved
from downloader.job import Entry, Resolved
from downloader.route import ROUTE
from downloader.states import Stage, Status, StepState
from downloader.store import Backlog, Reserved
from tests.stages.driving import PLAN, claim, done_job, finish
from tests.store.conftest import new


def expire(store):
    store.db.rows(
        "UPDATE downloader_steps SET lease_until = now() - interval '1 second' WHERE state = 'running' RETURNING name"
    )


def test_a_claim_raises_the_epoch_and_starts_the_job(store):
    posted = store.post(new(authorization=b"sealed"), limit=10)
    held = claim(store, posted.id)
    assert (held.epoch, held.attempts, held.crashes) == (1, 1, 0)
    assert held.sealed_authorization == b"sealed"
    job = store.job(posted.id)
    assert (job.status, job.stage) == (Status.RUNNING, Stage.EXTRACT)
    assert job.started_at is not None


def test_a_step_is_claimed_once(store):
    posted = store.post(new(), limit=10)
    assert claim(store, posted.id, worker="a/0")
    assert claim(store, posted.id, worker="b/0") is None
    assert claim(store, posted.id, worker="a/0").epoch == 2, "its own claimant may repeat a claim whose answer was lost"


def test_the_next_step_is_ready_when_all_it_needs_is_done(store):
    posted = store.post(new(), limit=10)
    assert claim(store, posted.id, "fetch") is None
    finished = finish(store, claim(store, posted.id))
    assert finished.ready == (Entry("fetch", posted.id, "fetch"),)
    assert not finished.ended
    held = claim(store, posted.id, "fetch")
    assert set(held.inputs) == {"resolve"}


def test_the_last_step_ends_the_job(store, tmp_path):
    job = done_job(store, tmp_path, new(authorization=b"sealed"))
    assert (job.status, job.stage, job.progress_percent) == (Status.DONE, Stage.DONE, 100)
    assert None not in (job.finished_at, job.download_ms, job.mux_ms, job.upload_ms, job.total_ms)
    assert job.artifact.name == "a.mp4"
    assert store.db.rows("SELECT sealed_authorization AS s FROM downloader_jobs")[0]["s"] is None


def test_itags_are_text_in_the_row_and_read_as_either(store):
    posted = store.post(new(), limit=10)
    chosen = Resolved(video_itag=137, audio_itag=140, height=1080)
    finish(store, claim(store, posted.id), resolved=chosen)
    [row] = store.db.rows("SELECT resolved FROM downloader_jobs")
    assert row["resolved"] == {"videoItag": "137", "audioItag": "140", "height": 1080}
    assert store.job(posted.id).resolved == chosen
    store.db.rows("""UPDATE downloader_jobs SET resolved = '{"videoItag": 137, "audioItag": 140, "height": 1080}'""")
    assert store.job(posted.id).resolved == chosen


def test_a_lost_answer_of_finish_is_found_again(store):
    posted = store.post(new(), limit=10)
    held = claim(store, posted.id)
    assert finish(store, held) == finish(store, held)


def test_a_stale_claim_can_write_nothing(store):
    posted = store.post(new(), limit=10)
    stale = claim(store, posted.id, worker="old/0")
    assert store.give_back(stale, crashes=1)
    fresh = claim(store, posted.id, worker="new/0")
    assert finish(store, stale) is None
    assert not store.fail(stale, "x", "x")
    assert not store.give_back(stale)
    assert store.beat([stale, fresh], 15) == {fresh.key}
    assert store.lost([stale, fresh]) == {stale.key: False}
    assert store.job(posted.id).status is Status.RUNNING


@pytest.mark.parametrize("name", list(ROUTE))
def test_cancel_against_finish_has_one_winner(store, tmp_path, name):
    posted = store.post(new(), limit=10)
    for step in ROUTE:
        held = claim(store, posted.id, step)
        if step == name:
            break
        finish(store, held)
    assert store.cancel(posted.id).error_code == "cancelled"
    assert finish(store, held) is None
    assert store.lost([held]) == {held.key: True}
    assert claim(store, posted.id, name) is None
    assert store.job(posted.id).status is Status.FAILED


def test_fail_ends_the_job_with_its_code(store):
    posted = store.post(new(authorization=b"s"), limit=10)
    held = claim(store, posted.id)
    assert store.fail(held, "no_stream", "Nothing fits.")
    job = store.job(posted.id)
    assert (job.status, job.stage, job.error_code, job.error) == (
        Status.FAILED,
        Stage.EXTRACT,
        "no_stream",
        "Nothing fits.",
    )
    states = {row["state"] for row in store.db.rows("SELECT state FROM downloader_steps")}
    assert states == {"failed", "cancelled"}


def test_a_step_with_a_pause_is_not_to_be_had_before(store):
    posted = store.post(new(), limit=10)
    assert store.give_back(claim(store, posted.id), delay=60, retries=1)
    assert claim(store, posted.id) is None
    assert store.due("resolve", 0) == []


def test_the_lapsed_are_found_by_lease_and_by_worker(store):
    posted = store.post(new(), limit=10)
    held = claim(store, posted.id, worker="host:fetch:1/0")
    assert store.lapsed() == []
    assert [item.epoch for item in store.lapsed("host:fetch:1")] == [held.epoch]
    assert store.lapsed("host:fetch:") == []
    expire(store)
    (item,) = store.lapsed()
    store.beat([held], 15)
    assert not store.give_back(item, crashes=1, expired_only=True), "its owner renewed the lease in between"


def reserve(store, held, size, *, left=90, volume="vol", patience=300.0, **written):
    return store.reserve(held, volume, size, left=left, written=written, patience=patience)


@pytest.fixture
def held(store):
    """Claims of three jobs: a, b and c."""
    jobs = {key: store.post(new(key), limit=10).id for key in "abc"}
    return {key: claim(store, job_id, worker=f"{key}/0") for key, job_id in jobs.items()}


def age_reservations(store, seconds):
    store.db.rows(
        "UPDATE downloader_reservations SET since = since - %(s)s * interval '1 second' RETURNING 1", {"s": seconds}
    )


def test_reservations_leave_room_for_the_others(store, held):
    first, second = held["a"], held["b"]
    assert reserve(store, first, 60).made
    assert reserve(store, second, 60) == Reserved(holds=True, fits=False, behind=False, others=60)
    assert reserve(store, second, 60, volume="other").made
    assert reserve(store, first, 80).made, "in place of what it held"
    assert store.reserved("vol") == {first.job.id: 80}
    finish(store, first)
    assert store.reserved("vol") == {first.job.id: 80}, "for the steps that follow"
    store.cancel(first.job.id)
    assert store.reserved("vol") == {}


def test_what_is_written_counts_towards_its_own_reservation(store, held):
    first, second = held["a"], held["b"]
    ours, theirs = first.job.id, second.job.id
    assert not reserve(store, first, 60, left=50).made
    assert reserve(store, first, 60, left=50, **{ours: 40}).made
    assert not reserve(store, second, 31, left=50).made, "60 are to come of the other, as far as is known"
    assert reserve(store, second, 31, left=50, **{ours: 40}).others == 20
    assert reserve(store, second, 30, left=50, **{ours: 40}).made
    assert reserve(store, first, 60, left=50, **{ours: 99, theirs: 99}).others == 0, (
        "more than was set aside is no gift"
    )


def test_a_claim_that_does_not_hold_sets_nothing_aside(store, held):
    store.give_back(held["a"])
    assert not reserve(store, held["a"], 1).holds
    assert not reserve(store, held["a"], 100).holds
    assert store.db.rows("SELECT * FROM downloader_reservations") == []


def test_who_has_waited_long_for_room_is_not_passed_by_those_that_came_later(store, held):
    small, big, late = held["a"], held["b"], held["c"]
    assert reserve(store, small, 20).made
    assert not reserve(store, big, 80).fits
    assert reserve(store, late, 20).made, "for a while it is passed"
    store.cancel(late.job.id)
    age_reservations(store, 301)
    late = claim(store, store.post(new("d"), limit=10).id)
    assert reserve(store, late, 20) == Reserved(holds=True, fits=True, behind=True, others=20)
    assert reserve(store, small, 20).made, "who is in stays in"
    assert not reserve(store, big, 80).made
    store.cancel(small.job.id)
    assert reserve(store, big, 80).made
    assert reserve(store, late, 10).made, "whose turn it is then"


def test_those_that_wait_long_are_let_in_in_the_order_of_their_coming(store, held):
    first, second, third = held["a"], held["b"], held["c"]
    assert reserve(store, first, 90).made
    for waiting in (second, third):
        assert not reserve(store, waiting, 40).fits
    age_reservations(store, 301)
    assert reserve(store, first, 50).made
    assert reserve(store, third, 40).behind
    assert reserve(store, second, 40).made
    assert not reserve(store, third, 40).behind


def test_nobody_waits_behind_one_for_whom_nobody_makes_room(store, held):
    """Else a job that cannot get in, for reasons that are no job's, kept all others out."""
    big, late = held["a"], held["b"]
    assert not reserve(store, big, 100).fits
    age_reservations(store, 301)
    assert reserve(store, late, 20).made


def test_expired_artifacts_are_listed_until_noted(store, tmp_path):
    past = datetime.now(UTC) - timedelta(seconds=1)
    job = done_job(store, tmp_path, new(), expires_at=past)
    assert [item.id for item in store.expired_artifacts()] == [job.id]
    assert store.post(new(), limit=10).created, "an expired artifact is not cached"
    store.artifact_missing(job.id, job.artifact.locator)
    assert store.expired_artifacts() == []


def test_steps_of_a_branch_wait_for_all_they_need(store):
    posted = store.post(new(), limit=10)
    finish(store, claim(store, posted.id))
    store.db.rows(
        "INSERT INTO downloader_steps (job_id, name, stage, needs, state, ready_at) VALUES"
        " (%(id)s, 'extra', 'fetch', '{resolve}', 'ready', now()) RETURNING name;"
        "UPDATE downloader_steps SET needs = '{fetch,extra}' WHERE name = 'mux' RETURNING name",
        {"id": posted.id},
    )
    extra = store.claim(Entry("fetch", posted.id, "extra"), "x/0", 15, ROUTE["fetch"])
    assert finish(store, claim(store, posted.id, "fetch")).ready == ()
    finished = store.finish(extra, Achieved(outputs=PLAN), timing="", percent=50)
    assert finished.ready == (Entry("mux", posted.id, "mux"),)


def test_workers_are_counted_per_stage(store):
    store.here("a", "fetch", 4)
    store.here("b", "fetch", 2)
    store.here("c", "mux", 1)
    assert store.workers() == {"fetch": 6, "mux": 1}
    store.leave("a")
    assert store.workers() == {"fetch": 2, "mux": 1}


def test_the_backlog_counts_what_waits_and_runs_and_its_age(store):
    assert store.backlog() == {}
    first, second = (store.post(new(key), limit=10).id for key in ("a", "b"))
    held = claim(store, first)
    store.db.rows("UPDATE downloader_steps SET ready_at = now() - interval '1 minute' RETURNING 1")
    backlog = store.backlog()["resolve"]
    assert (backlog.ready, backlog.running) == (1, 1)
    assert 60 <= backlog.oldest < 120
    store.cancel(second)
    assert store.give_back(held, delay=60)
    assert store.backlog() == {"resolve": Backlog(ready=1, running=0, oldest=0.0)}, "one that pauses has not waited"


def test_an_outcome_tells_state_and_ready_steps(store):
    posted = store.post(new(), limit=10)
    finish(store, claim(store, posted.id))
    outcome = store.outcome(Entry("resolve", posted.id, "resolve"))
    assert (outcome.state, outcome.unfinished) == (StepState.DONE, True)
    assert outcome.ready == (Entry("fetch", posted.id, "fetch"),)
    assert store.outcome(Entry("resolve", "unknown", "resolve")) is None


def test_a_done_jobs_steps_keep_no_links(store, tmp_path):
    done, failed = done_job(store, tmp_path, new("a")).id, store.post(new("b"), limit=10).id
    for job_id, name in ((failed, "resolve"), (failed, "fetch")):
        held = claim(store, job_id, name)
        assert held.inputs.keys() == set(ROUTE[name].needs)
        if name == "resolve":
            finish(store, held)
        else:
            assert "media" in held.inputs["resolve"]
            store.fail(held, "no_stream", "Nothing.")
    rows = store.db.rows("SELECT job_id, name, outputs FROM downloader_steps WHERE outputs IS NOT NULL")
    kept = {(row["job_id"], row["name"]) for row in rows if row["outputs"]}
    assert kept == {(done, "publish"), (failed, "resolve")}, "a failed job may be run again with what stands"
