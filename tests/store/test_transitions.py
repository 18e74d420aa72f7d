"""The transition table in code and the one in the database are the same."""

import psycopg2
import pytest

from downloader.states import JOB_TRANSITIONS, STEP_TRANSITIONS, Status, StepState
from tests.store.conftest import new

JOB_PAIRS = [(a, b) for a in Status for b in Status if a != b]
STEP_PAIRS = [(a, b) for a in StepState for b in StepState if a != b]


@pytest.fixture
def job_id(store):
    return store.post(new(), limit=10).id


def allowed(store, statements):
    try:
        store.db.rows(statements)
    except psycopg2.errors.CheckViolation:
        return False
    return True


def set_status(status):
    ended = "now()" if status in (Status.DONE, Status.FAILED) else "NULL"
    return f"UPDATE downloader_jobs SET status = '{status}', finished_at = {ended} RETURNING id;"


def set_state(state):
    running = ("now()", "'w'") if state is StepState.RUNNING else ("NULL", "NULL")
    return (
        f"UPDATE downloader_steps SET state = '{state}', lease_until = {running[0]}, worker = {running[1]},"
        " outputs = '{}', ready_at = now() WHERE name = 'resolve' RETURNING name;"
    )


def test_jobs(store, job_id):
    assert job_id
    off = "SET LOCAL session_replication_role = replica;"  # arrange any state without the trigger
    on = "SET LOCAL session_replication_role = origin;"
    found = {(a, b) for a, b in JOB_PAIRS if allowed(store, off + set_status(a) + on + set_status(b))}
    assert found == {(a, b) for a, targets in JOB_TRANSITIONS.items() for b in targets}


def test_steps(store, job_id):
    assert job_id
    off = "SET LOCAL session_replication_role = replica;"
    on = "SET LOCAL session_replication_role = origin;"
    found = {(a, b) for a, b in STEP_PAIRS if allowed(store, off + set_state(a) + on + set_state(b))}
    assert found == {(a, b) for a, targets in STEP_TRANSITIONS.items() for b in targets}


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE downloader_steps SET state = 'running'",
        "UPDATE downloader_steps SET state = 'odd'",
        "UPDATE downloader_jobs SET status = 'odd'",
        "UPDATE downloader_jobs SET stage = 'odd'",
        "UPDATE downloader_jobs SET status = 'failed'",
        "UPDATE downloader_jobs SET status = 'failed', finished_at = now(), sealed_authorization = 'x'",
    ],
)
def test_what_the_checks_refuse(store, job_id, sql):
    assert job_id
    with pytest.raises(psycopg2.errors.CheckViolation):
        store.db.rows(f"{sql} RETURNING 1")
