"""A failed job is queued anew on a real Postgres: what is kept, what is reset, what is refused."""

import pytest

from downloader.job import Entry
from downloader.route import ROUTE
from downloader.states import Stage, Status
from downloader.store import EqualUnderWay, NotFailed
from tests.stages.driving import PLAN, claim, done_job, finish
from tests.store.conftest import new

CLEARED = "error error_code started_at finished_at download_ms mux_ms upload_ms total_ms artifact".split()


def failed(store, at="mux", key="k1"):
    """A job that failed with the step ``at``, its third crash; what it was claimed with."""
    posted = store.post(new(key, authorization=b"sealed"), limit=10)
    for name in ROUTE:
        held = claim(store, posted.id, name)
        if name == at:
            break
        finish(store, held, warnings=(f"of {name}",), total_bytes=7)
    assert store.fail(held, "media_invalid", "Broken.", crashes=3)
    return store.job(posted.id), held


def states(store, job_id):
    sql = "SELECT name, state FROM downloader_steps WHERE job_id = %(id)s"
    return {row["name"]: row["state"] for row in store.db.rows(sql, {"id": job_id})}


def test_everything_begins_anew_when_nothing_is_kept(store):
    job, _ = failed(store)
    assert store.run_again(job, ()) == (Entry("resolve", job.id, "resolve"),)
    again = store.job(job.id)
    assert (again.status, again.stage, again.progress_percent) == (Status.QUEUED, Stage.QUEUED, 0)
    assert (again.downloaded_bytes, again.total_bytes, again.warnings) == (0, 0, ())
    assert {name: getattr(again, name) for name in CLEARED} == dict.fromkeys(CLEARED)
    assert again.queued_at > job.queued_at
    assert states(store, job.id) == {"resolve": "ready", "fetch": "waiting", "mux": "waiting", "publish": "waiting"}


def test_it_runs_to_its_end(store):
    job, stale = failed(store, "mux")
    store.run_again(job, ())
    for name in ROUTE:
        held = claim(store, job.id, name)
        assert (held.attempts, held.crashes, held.retries) == (1, 0, 0)
        if name == "mux":
            assert held.epoch > stale.epoch
            assert finish(store, stale) is None, "who worked on it before stays fenced off"
        assert finish(store, held).ended == (name == "publish")
    assert store.job(job.id).status is Status.DONE


def test_what_is_kept_stays_done_with_its_outputs_and_warnings(store):
    job, _ = failed(store)
    assert store.run_again(job, ("resolve", "fetch")) == (Entry("mux", job.id, "mux"),)
    assert states(store, job.id) == {"resolve": "done", "fetch": "done", "mux": "ready", "publish": "waiting"}
    assert set(claim(store, job.id, "mux").inputs) == {"resolve", "fetch"}
    assert store.job(job.id).warnings == PLAN.warnings


def test_the_warnings_of_what_is_kept_are_kept(store):
    job, _ = failed(store)
    store.db.rows(
        """UPDATE downloader_steps SET outputs = '{"warnings": ["no such language"]}' WHERE name = 'resolve'"""
        """ RETURNING 1"""
    )
    store.run_again(job, ("resolve",))
    assert store.job(job.id).warnings == ("no such language",)


def test_a_cancelled_job_runs_again(store):
    posted = store.post(new(), limit=10)
    store.run_again(store.cancel(posted.id), ())
    assert claim(store, posted.id) is not None


def test_only_a_failed_job_runs_again(store, tmp_path):
    queued = store.job(store.post(new("a"), limit=10).id)
    for job in (queued, done_job(store, tmp_path, new("b"))):
        with pytest.raises(NotFailed):
            store.run_again(job, ())
        assert store.job(job.id) == job


def test_of_two_who_saw_it_fail_one_wins(store):
    job, _ = failed(store)
    store.run_again(job, ())
    with pytest.raises(NotFailed):
        store.run_again(job, ())
    store.cancel(job.id)
    with pytest.raises(NotFailed):
        store.run_again(job, ("resolve",))


def test_an_equal_job_under_way_is_named(store):
    job, _ = failed(store)
    equal = store.post(new(), limit=10)
    assert equal.created
    with pytest.raises(EqualUnderWay, match=equal.id):
        store.run_again(job, ())
    assert store.job(job.id) == job
    assert states(store, job.id)["mux"] == "failed"


def test_a_job_from_before_there_were_steps_gets_them(store):
    job, _ = failed(store)
    store.db.rows("DELETE FROM downloader_steps RETURNING name")
    assert store.step_outputs(job.id) == []
    assert store.run_again(job, ()) == (Entry("resolve", job.id, "resolve"),)
    assert states(store, job.id) == {"resolve": "ready", "fetch": "waiting", "mux": "waiting", "publish": "waiting"}


def test_outputs_of_steps_that_are_not_done_are_none(store):
    job, _ = failed(store, "fetch")
    found = {step.name: (step.needs, step.outputs is None) for step in store.step_outputs(job.id)}
    assert found == {name: (step.needs, name != "resolve") for name, step in ROUTE.items()}
