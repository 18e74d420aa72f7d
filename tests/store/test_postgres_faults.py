"""Postgres loses connections in the middle of a commit, is read-only, has no connection left: what follows."""

import secrets
import threading

import pytest

from downloader.errors import StoreUnavailable
from downloader.states import Status, StepState
from downloader.store import NotCancellable, QueueFull, Store, database
from tests.conftest import execute
from tests.stages.driving import claim, finish
from tests.store.conftest import new
from tests.store.cutting import Cutting
from tests.waiting import until

OUTCOMES = ("before", "after")


@pytest.fixture
def cutting(database_url):
    with Cutting(database_url) as proxy:
        yield proxy


@pytest.fixture
def cut(cutting):
    """A store whose connection can be cut; its statements are prepared already, so that one question is one write."""
    made = Store(cutting.dsn, max_connections=1)
    held = claim(made, made.post(new("prepares"), limit=10).id)
    made.beat([held], 15)
    made.reserve(held, "v", 1, left=1, written={}, patience=0)
    finish(made, held)
    yield made
    made.close()


def rows(store, job_id):
    sql = "SELECT name, state, epoch, attempts, crashes, retries FROM downloader_steps WHERE job_id = %(id)s"
    return {row["name"]: row for row in store.db.rows(sql, {"id": job_id})}


@pytest.mark.parametrize("when", OUTCOMES)
def test_a_post_cut_in_its_commit_is_one_job(cut, cutting, store, when):
    cutting.arm(when)
    posted = cut.post(new("once"), limit=10)
    assert cutting.cuts == 1
    jobs = store.db.rows("SELECT id FROM downloader_jobs WHERE cache_key = 'once'")
    assert jobs == [{"id": posted.id}]
    assert cut.post(new("once"), limit=10).id == posted.id
    assert [entry.job_id for entry in store.due("resolve", 0)] == [posted.id], "an entry lost with it is added later"


@pytest.mark.parametrize("when", OUTCOMES)
def test_a_claim_cut_in_its_commit_is_claimed_once_more_by_the_same(cut, cutting, store, when):
    job_id = store.post(new(), limit=10).id
    cutting.arm(when)
    held = claim(cut, job_id)
    assert cutting.cuts == 1
    assert held.epoch == (1 if when == "before" else 2)
    assert store.lost([held]) == {}
    assert finish(cut, held)


@pytest.mark.parametrize("when", OUTCOMES)
def test_a_finish_cut_in_its_commit_counts_once(cut, cutting, store, when):
    job_id = store.post(new(), limit=10).id
    held = claim(cut, job_id)
    cutting.arm(when)
    finished = finish(cut, held, warnings=("once",))
    assert cutting.cuts == 1
    assert [entry.step for entry in finished.ready] == ["fetch"]
    assert store.job(job_id).warnings == ("once",)
    assert rows(store, job_id)["fetch"]["state"] == StepState.READY


@pytest.mark.parametrize("when", OUTCOMES)
def test_a_fail_cut_in_its_commit_ends_the_job_once(cut, cutting, store, when):
    job_id = store.post(new(), limit=10).id
    held = claim(cut, job_id)
    cutting.arm(when)
    assert cut.fail(held, "no_stream", "Nothing.", crashes=1) == (when == "before")
    assert cutting.cuts == 1
    job = store.job(job_id)
    assert (job.status, job.error_code) == (Status.FAILED, "no_stream")
    assert rows(store, job_id)["resolve"]["crashes"] == 1


@pytest.mark.parametrize("when", OUTCOMES)
def test_a_step_given_back_in_a_cut_commit_is_counted_once(cut, cutting, store, when):
    job_id = store.post(new(), limit=10).id
    held = claim(cut, job_id)
    cutting.arm(when)
    assert cut.give_back(held, retries=1) == (when == "before")
    assert cutting.cuts == 1
    row = rows(store, job_id)["resolve"]
    assert (row["state"], row["retries"]) == (StepState.READY, 1)


@pytest.mark.parametrize("when", OUTCOMES)
def test_a_beat_and_a_reservation_cut_in_their_commits_hold(cut, cutting, store, when):
    held = claim(cut, store.post(new(), limit=10).id)
    cutting.arm(when)
    assert cut.beat([held], 15) == {held.key}
    cutting.arm(when)
    assert cut.reserve(held, "v", 5, left=10, written={}, patience=0).made
    assert cutting.cuts == 2
    assert store.reserved("v")[held.job.id] == 5


@pytest.mark.parametrize("when", OUTCOMES)
def test_a_cancel_cut_in_its_commit_cancels(cut, cutting, store, when):
    job_id = store.post(new(), limit=10).id
    cutting.arm(when)
    try:
        ended = cut.cancel(job_id)
    except NotCancellable as error:
        # Nobody can tell whose cancel it was: the answer says that the job is cancelled.
        ended = error.job
    assert cutting.cuts == 1
    assert (ended.status, ended.error_code) == (Status.FAILED, "cancelled")
    assert {row["state"] for row in rows(store, job_id).values()} == {StepState.CANCELLED}


def test_a_database_that_is_read_only_is_said_so_and_used_again_when_it_is_not(store, database_url, postgres_server):
    job_id = store.post(new(), limit=10).id
    name = database_url.partition("?")[0].rpartition("/")[2]
    # A connection of the pool from before a failover sees the same as this: writes refused, reads answered.
    store.db.rows("SET default_transaction_read_only = on")
    assert store.post(new("b"), limit=10).created, "another connection is tried at once"
    execute(postgres_server.dsn, "ALTER DATABASE {} SET default_transaction_read_only = on", name)
    try:
        with_new_connection = Store(database_url)
        for write in (
            lambda: with_new_connection.post(new("c"), limit=10),
            lambda: claim(with_new_connection, job_id),
            lambda: with_new_connection.cancel(job_id),
        ):
            with pytest.raises(StoreUnavailable, match="read-only"):
                write()
        assert with_new_connection.job(job_id).status is Status.QUEUED, "reading goes on"
    finally:
        execute(postgres_server.dsn, "ALTER DATABASE {} RESET default_transaction_read_only", name)
    assert claim(with_new_connection, job_id), "and writing, without a new start"
    with_new_connection.close()


def test_a_pool_without_a_free_connection_is_said_so_and_used_again(database_url, monkeypatch):
    monkeypatch.setattr(database, "_WAIT_FOR_CONNECTION", 0.05)
    small, other = Store(database_url, max_connections=1), Store(database_url)
    locked = threading.Event()
    other.db.rows("SELECT pg_advisory_lock(1)")
    busy = threading.Thread(target=lambda: (locked.set(), small.db.rows("SELECT pg_advisory_lock(1)")))
    busy.start()
    locked.wait(5)
    try:
        until(lambda: not answers(small), 5)
        with pytest.raises(StoreUnavailable, match="busy"):
            small.ping()
    finally:
        other.close()
        busy.join(10)
    small.ping()
    small.close()


def test_a_server_without_a_free_connection_is_said_so(database_url):
    role = f"limited_{secrets.token_hex(4)}"
    execute(database_url, "CREATE ROLE {} LOGIN CONNECTION LIMIT 1", role)
    execute(database_url, "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {}", role)
    dsn = f"postgresql://{role}@{database_url.partition('@')[2]}"
    try:
        first, second = (Store(dsn, max_connections=1) for _ in range(2))
        first.ping()
        with pytest.raises(StoreUnavailable, match="too many connections"):
            second.post(new(), limit=10)
        first.close()
        until(lambda: answers(second))
        second.close()
    finally:
        execute(database_url, "DROP OWNED BY {}", role)
        execute(database_url, "DROP ROLE {}", role)


def answers(store):
    try:
        store.ping()
    except StoreUnavailable:
        return False
    return True


def test_a_statement_that_takes_too_long_is_not_run_again(database_url):
    one = Store(database_url, max_connections=1)
    one.db.rows("CREATE SEQUENCE runs; SET statement_timeout = 50")
    with pytest.raises(StoreUnavailable, match="statement timeout"):
        one.db.rows("SELECT nextval('runs'), pg_sleep(60)")
    assert one.db.rows("SELECT last_value, is_called FROM runs") == [{"last_value": 1, "is_called": True}]
    assert one.db.rows("SHOW statement_timeout") == [{"statement_timeout": "50ms"}], (
        "the connection is as good as before"
    )
    one.close()


def test_a_full_queue_is_told_from_a_lost_answer(cut, cutting):
    cutting.arm("after")
    with pytest.raises(QueueFull):
        cut.post(new("none"), limit=0)
    assert cutting.cuts == 1
