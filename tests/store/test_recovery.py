"""Jobs that an older service writes after the migrations: they hold a place in the queue, so they must run."""

import pytest

from downloader.job import Entry
from downloader.route import ROUTE
from downloader.states import Status
from tests.stages.driving import claim, finish
from tests.store.conftest import new

OLDER = """
INSERT INTO downloader_jobs (id, cache_key, url, status, options, progress, queued_at, updated_at)
VALUES (%(id)s, %(id)s, 'https://e.test/v', %(status)s, '{"mode":"audio"}', '{}',
        now() - %(queued)s * interval '1 second', now() - %(updated)s * interval '1 second')
RETURNING id
"""


def write(store, job_id, status="queued", queued=61, updated=61):
    store.db.rows(OLDER, {"id": job_id, "status": status, "queued": queued, "updated": updated})


@pytest.mark.parametrize("status", ["queued", "running"])
def test_an_unfinished_job_without_steps_is_given_them_and_runs(store, status):
    write(store, "old", status)
    assert store.post(new("old"), limit=10).id == "old", "an equal post is led to it"
    store.mend()
    assert store.due("resolve", 0) == [Entry("resolve", "old", "resolve")]
    for name in ROUTE:
        held = claim(store, "old", name)
        assert held.job.options.mode == "audio"
        assert finish(store, held)
    assert store.job("old").status is Status.DONE


def test_a_job_that_somebody_has_just_written_is_left_alone(store):
    write(store, "posted", queued=59, updated=59)
    write(store, "worked on", "running", queued=3600, updated=1)
    store.mend()
    assert store.due("resolve", 0) == []


def test_steps_are_given_once_and_to_no_other_job(store):
    write(store, "old")
    whole = store.post(new("whole"), limit=10).id
    finish(store, claim(store, whole))
    ended = store.post(new("ended"), limit=10).id
    store.cancel(ended)
    store.db.rows(
        "UPDATE downloader_jobs SET queued_at = now() - interval '1 hour', updated_at = queued_at RETURNING 1"
    )
    store.db.rows("DELETE FROM downloader_steps WHERE job_id = %(id)s RETURNING 1", {"id": ended})
    for _ in range(2):
        store.mend()
    found = store.db.rows("SELECT job_id, count(*) AS n FROM downloader_steps GROUP BY job_id")
    assert {row["job_id"]: row["n"] for row in found} == {"old": len(ROUTE), whole: len(ROUTE)}
    assert store.due("resolve", 0) == [Entry("resolve", "old", "resolve")]
