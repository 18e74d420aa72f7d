"""A callback comes to be with the job's end, in one transaction, and belongs to one sender at a time."""

from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from downloader.job import Options
from downloader.store import NewJob, Store, migrate
from downloader.store.migrate import migrations
from tests.stages.driving import claim, done_job

URL = "http://hooks.example/x"
LEASE = 60.0
LIMIT = 3


def wish(key="k", url=URL):
    return NewJob("https://example.test/v", Options(callback_url=url), key)


def callbacks(store):
    return store.db.rows("SELECT * FROM downloader_callbacks ORDER BY job_id")


def age(store, seconds):
    """Let every callback's time lie further back."""
    sql = "UPDATE downloader_callbacks SET due_at = due_at - %(s)s * interval '1 second' RETURNING 1"
    store.db.rows(sql, {"s": seconds})


def cancelled(store, *args):
    return store.cancel(store.post(wish(*args), limit=1000).id)


def failed(store):
    posted = store.post(wish(), limit=10)
    store.fail(claim(store, posted.id), "no_stream", "Nothing fits.")
    return store.job(posted.id)


@pytest.mark.parametrize("way", ["done", "failed", "cancelled"])
def test_each_way_to_end_makes_one(store, tmp_path, way):
    make = {"done": lambda: done_job(store, tmp_path, wish()), "failed": lambda: failed(store)}
    job = make.get(way, lambda: cancelled(store))()
    (row,) = callbacks(store)
    assert (row["job_id"], row["url"], row["state"], row["attempts"]) == (job.id, URL, "due", 0)
    claimed = store.claim_callback(LEASE, LIMIT)
    assert (claimed.job, claimed.url, claimed.attempt) == (store.job(job.id), URL, 1)
    assert claimed.job.ended


def test_none_before_the_end_and_none_without_a_wish(store, tmp_path):
    store.post(wish(), limit=10)
    claim(store, store.post(wish("k2"), limit=10).id)
    done_job(store, tmp_path, wish("k3", None))
    assert callbacks(store) == []


def test_it_comes_and_goes_with_the_transaction(store, database_url):
    job_id = store.post(wish(), limit=10).id
    end = "UPDATE downloader_jobs SET status = 'failed', finished_at = now() WHERE id = %s"
    for finish, expected in (("rollback", 0), ("commit", 1)):
        connection = psycopg2.connect(database_url)
        try:
            with connection.cursor() as cursor:
                cursor.execute(end, (job_id,))
                cursor.execute("SELECT count(*) FROM downloader_callbacks")
                assert cursor.fetchone() == (1,)
            assert callbacks(store) == []
            getattr(connection, finish)()
        finally:
            connection.close()
        assert len(callbacks(store)) == expected


@pytest.mark.parametrize(
    "options", ["[]", '["callbackUrl"]', "3", "null", '{"callbackUrl": null}', '{"callbackUrl": 3}']
)
def test_odd_options_of_an_older_service_do_not_keep_a_job_from_ending(store, options):
    store.post(wish(), limit=10)
    store.db.rows("UPDATE downloader_jobs SET options = %(o)s::jsonb RETURNING 1", {"o": options})
    store.db.rows("UPDATE downloader_jobs SET status = 'failed', finished_at = now() RETURNING 1")
    assert store.db.rows("SELECT status FROM downloader_jobs") == [{"status": "failed"}]
    assert callbacks(store) == []


def test_a_job_that_runs_again_tells_its_new_end(store):
    job = cancelled(store)
    first = store.claim_callback(LEASE, LIMIT)
    again = "UPDATE downloader_jobs SET status = 'queued', finished_at = NULL RETURNING 1"
    store.db.rows(again)
    age(store, LEASE + 1)
    assert store.claim_callback(LEASE, LIMIT) is None, "it has not ended"
    store.cancel(job.id)
    assert not store.callback_sent(first), "that was the end before"
    second = store.claim_callback(LEASE, LIMIT)
    assert second.attempt == 1
    assert not store.callback_sent(first)
    assert store.callback_sent(second)
    store.db.rows(again)
    store.cancel(job.id)
    assert store.claim_callback(LEASE, LIMIT).attempt == 1


def test_jobs_that_ended_before_the_migration_get_none(empty_database_url):
    store = Store(empty_database_url)
    first, *_ = migrations()
    store.db.rows(
        "CREATE TABLE downloader_migrations (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());"
        + first[1].replace("%", "%%")
        + "; INSERT INTO downloader_migrations VALUES (%(name)s); SELECT 1",
        {"name": first[0]},
    )
    before = store.post(wish("k1"), limit=10).id
    store.cancel(before)
    after = store.post(wish("k2"), limit=10).id
    assert "0002_callbacks" in migrate(empty_database_url)
    assert callbacks(store) == []
    store.cancel(after)
    assert [row["job_id"] for row in callbacks(store)] == [after]
    store.close()


def test_each_is_claimed_once_however_many_ask(store):
    jobs = {cancelled(store, f"k{number}").id for number in range(30)}
    with ThreadPoolExecutor(8) as pool:
        claimed = [found for found in pool.map(lambda _: store.claim_callback(LEASE, LIMIT), range(60)) if found]
    # A claim that met others' locks may come back empty-handed: what is left is claimed by the next.
    while found := store.claim_callback(LEASE, LIMIT):
        claimed.append(found)
    assert len(claimed) == len(jobs)
    assert {found.job.id for found in claimed} == jobs


def test_a_claim_lapses_and_its_late_sender_writes_nothing(store):
    cancelled(store)
    late = store.claim_callback(LEASE, LIMIT)
    age(store, LEASE - 1)
    assert store.claim_callback(LEASE, LIMIT) is None
    age(store, 2)
    second = store.claim_callback(LEASE, LIMIT)
    assert second.attempt == 2
    assert not store.callback_sent(late)
    assert not store.callback_put_off(late, "late", 0)
    assert not store.callback_dropped(late, "late")
    assert callbacks(store)[0]["state"] == "due"
    assert store.callback_sent(second)
    assert not store.callback_dropped(second, "twice"), "an end is an end"
    assert callbacks(store)[0]["state"] == "sent"


def test_senders_that_die_every_time_do_not_make_it_go_on_for_ever(store):
    cancelled(store)
    for attempt in range(1, LIMIT + 1):
        assert store.claim_callback(LEASE, LIMIT).attempt == attempt
        age(store, LEASE + 1)
    assert store.claim_callback(LEASE, LIMIT) is None
    (row,) = callbacks(store)
    assert (row["state"], row["attempts"]) == ("dropped", LIMIT)


def test_a_deleted_job_takes_its_callback_along(store):
    job = cancelled(store)
    claimed = store.claim_callback(LEASE, LIMIT)
    store.delete(job.id)
    assert callbacks(store) == []
    assert not store.callback_sent(claimed)
