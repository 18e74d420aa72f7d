"""Prepared statements outlive what happens to their tables and sessions: migrations by a newer version, a pooler."""

import pytest

from downloader.job import Entry
from downloader.states import Status
from downloader.store import Store
from downloader.store.statements import named
from tests.conftest import execute
from tests.stages.driving import claim, finish
from tests.store.conftest import new

JOB = named("jobs.sql")["job"]
POST = named("jobs.sql")["post"]
FINISH = named("steps.sql")["finish"]
PLANS = "SELECT name, generic_plans + custom_plans AS used FROM pg_prepared_statements"


@pytest.fixture
def one(database_url):
    """A store of one connection, so that every call is in the same session."""
    made = Store(database_url, max_connections=1)
    yield made
    made.close()


def plans(store):
    return {row["name"]: row["used"] for row in store.db.rows(PLANS)}


def test_a_newer_versions_column_does_not_disturb_a_running_process(one, database_url):
    before = one.post(new("a"), limit=10).id
    held = claim(one, before)
    for table in ("downloader_jobs", "downloader_steps"):
        execute(database_url, "ALTER TABLE {} ADD COLUMN fresh text NOT NULL DEFAULT 'x'", table)
    assert one.job(before).status is Status.RUNNING
    assert [entry.step for entry in finish(one, held).ready] == ["fetch"]
    later = one.post(new("b"), limit=10).id
    assert claim(one, later).job.id == later
    assert one.cancel(later).error_code == "cancelled"


def test_after_a_migration_statements_are_planned_anew_once(one, database_url):
    job_id = one.post(new(), limit=10).id
    one.job(job_id)
    execute(database_url, "ALTER TABLE {} ADD COLUMN fresh text", "downloader_jobs")
    one.job(job_id)
    (plan,) = JOB.plans
    assert plan not in plans(one)
    for _ in range(3):
        one.job(job_id)
    assert plans(one)[plan] == 3


def test_a_column_of_another_type_does_not_disturb_a_running_process(one, database_url):
    job_id = one.post(new(), limit=10).id
    one.job(job_id)
    execute(database_url, "ALTER TABLE {} ALTER download_ms TYPE integer", "downloader_jobs")
    assert one.job(job_id).id == job_id


def test_what_another_client_of_a_pooler_has_prepared_is_used(one):
    for prepare in (*JOB.prepare, *POST.prepare, FINISH.prepare[0]):
        one.db.rows(prepare)
    posted = one.post(new(), limit=10)
    assert one.job(posted.id).id == posted.id
    assert finish(one, claim(one, posted.id)).ready == (Entry("fetch", posted.id, "fetch"),)
    assert all(plans(one)[plan] == 1 for plan in (*JOB.plans, *POST.plans, *FINISH.plans))


def test_a_session_of_a_pooler_that_knows_no_statement_is_taught(one):
    job_id = one.post(new(), limit=10).id
    one.job(job_id)
    one.db.rows("DEALLOCATE ALL")
    for _ in range(3):
        assert one.job(job_id).id == job_id
    assert plans(one)[JOB.plans[0]] == 2


def test_versions_that_share_a_pooler_do_not_run_each_others_statements():
    older, newer = (JOB.parsed("job", text, prepared=True) for text in (str(JOB), f"{JOB} AND true"))
    assert older.plans == JOB.plans
    assert not set(older.plans) & set(newer.plans)
    assert all(
        len(plan) < 64 for file in ("jobs.sql", "steps.sql") for each in named(file).values() for plan in each.plans
    )
