"""The senders against a real receiver: what arrives, what is tried again, and who is never called."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from downloader.callbacks import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from downloader.errors import StoreUnavailable
from downloader.job import Options
from downloader.store import NewJob, Store
from stages import callbacks
from stages.callbacks import ATTEMPTS, LEASE_SECONDS, LONGEST_WISH_SECONDS, Callbacks, delay
from tests.receiver import Receiver
from tests.stages.driving import done_job
from tests.store.test_callbacks import age
from tests.store.test_callbacks import callbacks as stored
from tests.waiting import until

SECRET = "shared secret"
DAY = 24 * 3600


@pytest.fixture
def receiver():
    with Receiver() as running:
        yield running


@pytest.fixture
def sender(house):
    return make(house)


def make(house, *hosts, store=None):
    changed = replace(
        house.settings,
        callback_allow_hosts=hosts or ("127.0.0.1",),
        callback_secret=SECRET,
        public_base_url="/api/downloader",
    )
    return Callbacks(changed, store or house.store, house.clock)


def wish(url, key="k"):
    return NewJob("https://example.test/v", Options(callback_url=url), key)


def cancelled(house, url, key="k"):
    return house.store.cancel(house.store.post(wish(url, key), limit=1000).id)


def row(house):
    return house.store.db.rows("SELECT *, extract(epoch FROM due_at - now()) AS pause FROM downloader_callbacks")[0]


def test_a_cancelled_job_is_told_once_and_signed(house, sender, receiver):
    job = cancelled(house, receiver.url)
    assert sender.run_once()
    assert not sender.run_once()
    ((path, headers, body),) = receiver.got
    assert path == "/hook?x=1"
    assert headers[SIGNATURE_HEADER] == sign(SECRET, int(headers[TIMESTAMP_HEADER]), body)
    assert abs(int(headers[TIMESTAMP_HEADER]) - house.clock.now().timestamp()) < 60
    assert json.loads(body) == {
        "id": job.id,
        "url": job.url,
        "status": "failed",
        "stage": "queued",
        "errorCode": "cancelled",
        "error": "The job was cancelled.",
        "finishedAt": job.finished_at.isoformat().replace("+00:00", "Z"),
        "totalMs": job.total_ms,
    }
    assert (row(house)["state"], row(house)["attempts"]) == ("sent", 1)


def test_a_done_job_names_its_artifact_while_it_stands(house, sender, receiver, tmp_path):
    job = done_job(house.store, tmp_path, wish(receiver.url))
    gone = done_job(house.store, tmp_path, wish(receiver.url, "k2"))
    house.store.artifact_missing(gone.id, gone.artifact.locator)
    assert sender.run_once()
    assert sender.run_once()
    first, second = (json.loads(body) for _, _, body in receiver.got)
    assert (first["id"], first["status"], first["stage"]) == (job.id, "done", "done")
    assert first["artifactUrl"] == f"/api/downloader/jobs/{job.id}/artifact"
    assert second["id"] == gone.id
    assert {"artifactUrl", "error", "errorCode"} & set(second) == set()


def test_a_receiver_that_fails_and_recovers_is_told_at_last(house, sender, receiver):
    job = cancelled(house, receiver.url)
    receiver.status = 500
    for attempt in (1, 2, 3):
        assert sender.run_once()
        now = row(house)
        assert (now["state"], now["attempts"]) == ("due", attempt)
        assert now["last_error"] == "The callback's receiver answered 500."
        assert delay(attempt, 0) - 5 < now["pause"] <= delay(attempt, 1)
        assert not sender.run_once(), "not before its time"
        age(house.store, delay(attempt, 1))
    receiver.status = 200
    assert sender.run_once()
    assert [json.loads(body)["id"] for _, _, body in receiver.got] == [job.id] * 4
    assert (row(house)["state"], row(house)["last_error"]) == ("sent", None)
    age(house.store, 10 * DAY)
    assert not sender.run_once()


@pytest.mark.parametrize(("wish", "pause"), [("600", 600), ("1", 10), ("999999999", LONGEST_WISH_SECONDS)])
def test_a_receiver_is_asked_again_when_it_wishes_within_reason(house, sender, receiver, wish, pause):
    cancelled(house, receiver.url)
    receiver.status, receiver.headers = 429, {"Retry-After": wish}
    assert sender.run_once()
    assert pause * 0.7 < row(house)["pause"] <= pause * 1.3
    assert row(house)["state"] == "due"


def test_a_receiver_that_stays_away_is_given_up(house, sender):
    with Receiver() as closed:
        url = closed.url
    cancelled(house, url)
    for attempt in range(1, ATTEMPTS + 1):
        assert row(house)["state"] == "due"
        assert sender.run_once()
        assert row(house)["attempts"] == attempt
        age(house.store, delay(ATTEMPTS, 1))
    assert row(house)["state"] == "dropped"
    assert "hook" not in row(house)["last_error"], "no URL: it may hold a secret"
    assert not sender.run_once()


def test_the_attempts_are_spread_over_about_a_day():
    for chance in (0, 0.5, 1):
        pauses = [delay(attempt, chance) for attempt in range(1, ATTEMPTS)]
        assert pauses == sorted(pauses)
        assert 0.8 * DAY < sum(pauses) < 1.5 * DAY
    assert delay(1, 0) < 10 < delay(1, 1)


@pytest.mark.parametrize("status", [302, 400, 404, 410])
def test_a_refusal_is_final(house, sender, receiver, status):
    cancelled(house, receiver.url)
    receiver.status = status
    assert sender.run_once()
    assert (row(house)["state"], len(receiver.got)) == ("dropped", 1)
    age(house.store, 10 * DAY)
    assert not sender.run_once()
    assert len(receiver.got) == 1


def test_a_host_that_is_not_allowed_any_more_is_never_called(house, receiver):
    cancelled(house, receiver.url)
    assert make(house, "hooks.example.com").run_once()
    assert receiver.got == []
    assert row(house)["state"] == "dropped"


def test_several_processes_send_each_once(house, sender, receiver, database_url):
    jobs = {cancelled(house, receiver.url, f"k{number}").id for number in range(20)}
    other_store = Store(database_url)
    other = make(house, store=other_store)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda who: [who.run_once() for _ in range(20)], (sender, other, sender, other)))
    while sender.run_once():
        pass
    assert len(receiver.got) == len(jobs)
    assert {json.loads(body)["id"] for _, _, body in receiver.got} == jobs
    other_store.close()


def test_while_one_sends_no_other_does_until_its_claim_lapses(house, sender, receiver):
    cancelled(house, receiver.url)
    asked, answer = threading.Event(), threading.Event()
    receiver.meanwhile = lambda: (asked.set(), answer.wait(10))
    slow = threading.Thread(target=sender.run_once)
    slow.start()
    assert asked.wait(10)
    assert not sender.run_once()
    # The first sender is stopped for longer than its claim holds: the second sends, and its word counts.
    age(house.store, LEASE_SECONDS + 1)
    receiver.meanwhile = lambda: None
    receiver.status = 503
    assert sender.run_once()
    receiver.status = 200
    answer.set()
    slow.join()
    assert len(receiver.got) == 2
    assert (row(house)["state"], row(house)["attempts"]) == ("due", 2)


def test_a_deleted_job_is_told_to_nobody(house, sender, receiver):
    job = cancelled(house, receiver.url)
    house.store.delete(job.id)
    assert not sender.run_once()
    assert receiver.got == []


def test_a_job_deleted_while_it_is_told_does_no_harm(house, sender, receiver):
    job = cancelled(house, receiver.url)
    receiver.meanwhile = lambda: house.store.delete(job.id)
    assert sender.run_once()
    assert len(receiver.got) == 1
    assert stored(house.store) == []


def test_without_allowed_hosts_nothing_starts(house):
    assert Callbacks(house.settings, house.store, house.clock).start(threading.Event()) == []


def test_a_slow_receiver_does_not_keep_others_from_being_told(house, sender, receiver):
    stop, answer = threading.Event(), threading.Event()
    with Receiver() as slow:
        slow.meanwhile = lambda: answer.wait(12)
        cancelled(house, slow.url, "slow")
        cancelled(house, receiver.url, "quick")
        threads = sender.start(stop)
        until(lambda: slow.got and receiver.got, 6)
        answer.set()
        until(lambda: {row["state"] for row in stored(house.store)} == {"sent"})
        stop.set()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.parametrize("error", [StoreUnavailable("Postgres is away."), ValueError("a bug")])
def test_a_sender_survives_what_it_meets(house, sender, receiver, monkeypatch, error):
    monkeypatch.setattr(callbacks, "TICK_SECONDS", 0.01)
    claim, failures = house.store.claim_callback, [error, error]

    def fail_at_first(*arguments):
        if failures:
            raise failures.pop()
        return claim(*arguments)

    monkeypatch.setattr(house.store, "claim_callback", fail_at_first)
    cancelled(house, receiver.url)
    stop = threading.Event()
    receiver.meanwhile = stop.set
    sender.run(stop)
    assert len(receiver.got) == 1
