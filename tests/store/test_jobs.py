"""Posting, finding, cancelling and deleting jobs on a real Postgres."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from downloader.errors import StoreUnavailable
from downloader.job import Entry
from downloader.route import ROUTE
from downloader.states import Stage, Status
from downloader.store import NotCancellable, QueueFull, StillRunning, Store, jobs
from tests.stages.driving import done_job
from tests.store.conftest import new


def test_a_new_job_is_queued_with_the_steps_of_its_route(store):
    posted = store.post(new(authorization=b"sealed", request_id="r-1"), limit=10)
    assert (posted.created, posted.cached) == (True, False)
    assert posted.ready == (Entry("resolve", posted.id, "resolve"),)
    job = store.job(posted.id)
    assert (job.status, job.stage, job.request_id) == (Status.QUEUED, Stage.QUEUED, "r-1")
    assert len(posted.id) >= 24
    assert int(posted.id, 16)
    rows = store.db.rows("SELECT name, state, needs FROM downloader_steps WHERE job_id = %(id)s", {"id": posted.id})
    assert {row["name"]: tuple(row["needs"]) for row in rows} == {name: step.needs for name, step in ROUTE.items()}
    assert {row["name"] for row in rows if row["state"] == "ready"} == {"resolve"}


def test_thirty_two_equal_posts_at_once_make_one_job(database_url):
    gate = threading.Barrier(32)

    def post(_number):
        mine = Store(database_url, max_connections=1)
        gate.wait()
        try:
            return mine.post(new("same"), limit=100)
        finally:
            mine.close()

    with ThreadPoolExecutor(32) as pool:
        posted = list(pool.map(post, range(32)))
    assert len({item.id for item in posted}) == 1
    assert sum(item.created for item in posted) == 1
    assert not any(item.cached for item in posted)


def test_a_done_job_is_cached_while_its_artifact_stands(store, tmp_path):
    done = done_job(store, tmp_path, new("k"))
    assert store.post(new("k"), limit=10).cached
    assert store.post(new("k"), limit=10).id == done.id
    store.artifact_missing(done.id, done.artifact.locator)
    again = store.post(new("k"), limit=10)
    assert (again.cached, again.created) == (False, True)


def test_a_failed_job_is_never_cached(store):
    first = store.post(new("k"), limit=10)
    store.cancel(first.id)
    assert store.post(new("k"), limit=10).id != first.id


def test_the_queue_has_a_limit(store):
    for number in range(3):
        store.post(new(f"k{number}"), limit=3)
    with pytest.raises(QueueFull):
        store.post(new("one-more"), limit=3)
    assert not store.post(new("k1"), limit=3).created, "an equal job is found all the same"


def test_a_long_queue_is_not_counted_for_each_post_and_keeps_its_limit(store, monkeypatch):
    monkeypatch.setattr(jobs, "_POSTERS", 4)
    monkeypatch.setattr(jobs, "_COUNT_SECONDS", 60.0)
    counted, rows = [], store.db.rows

    def watched(sql, values=None):
        counted.append((values or {}).get("limit"))
        return rows(sql, values)

    monkeypatch.setattr(store.db, "rows", watched)
    for number in range(20):
        assert store.post(new(f"k{number}"), limit=20).created
    assert None in counted
    assert counted.count(20) < 15
    with pytest.raises(QueueFull):
        store.post(new("one more"), limit=20)


def test_cancel_ends_the_job_and_wipes_the_authorization(store):
    posted = store.post(new(authorization=b"sealed"), limit=10)
    job = store.cancel(posted.id)
    assert (job.status, job.error_code) == (Status.FAILED, "cancelled")
    row = store.db.rows("SELECT sealed_authorization AS s FROM downloader_jobs")[0]
    assert row["s"] is None
    with pytest.raises(NotCancellable) as caught:
        store.cancel(posted.id)
    assert caught.value.job.id == posted.id
    assert store.cancel("0" * 32) is None


def test_only_an_ended_job_can_be_deleted(store):
    posted = store.post(new(), limit=10)
    with pytest.raises(StillRunning):
        store.delete(posted.id)
    store.cancel(posted.id)
    assert store.delete(posted.id).id == posted.id
    assert store.delete(posted.id) is None
    assert store.db.rows("SELECT count(*) AS n FROM downloader_steps")[0]["n"] == 0


def test_text_that_postgres_refuses_is_cleaned(store):
    posted = store.post(new("k", request_id="a\x00b\ud800"), limit=10)
    assert store.job(posted.id).request_id == "ab?"


def test_a_connection_that_died_is_replaced(store, database_url):
    store.ping()
    Store(database_url).db.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid()"
    )
    store.ping()


def test_an_unreachable_postgres_is_said_so():
    with pytest.raises(StoreUnavailable, match="Postgres cannot be used"):
        Store("postgresql://nobody@127.0.0.1:1/none").ping()
