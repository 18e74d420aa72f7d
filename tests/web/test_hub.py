"""Fanning out: what watchers see of changes while Redis is away, and that places are freed."""

from datetime import UTC, datetime, timedelta

import gevent
import pytest

from downloader.clock import SystemClock
from downloader.errors import StoreUnavailable
from downloader.job import Job, Options, Progress
from downloader.states import Stage, Status
from web import events, hub
from web.hub import Hub
from web.present import Presenter

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SOON = 5.0


def job(percent: float = 0.0, status: Status = Status.RUNNING, later: int = 0) -> Job:
    return Job(
        id="a",
        cache_key="k",
        url="u",
        options=Options(),
        status=status,
        stage=Stage.DOWNLOAD,
        progress_percent=percent,
        queued_at=NOW,
        finished_at=NOW if status is Status.FAILED else None,
        updated_at=NOW + timedelta(seconds=later),
    )


def live(percent: float) -> Progress:
    return Progress(Stage.DOWNLOAD, percent, int(percent), 100)


class Rows:
    """A store whose rows the test sets."""

    def __init__(self) -> None:
        self.rows: dict[str, Job] = {}
        self.away = False
        self.asked = 0

    def jobs(self, job_ids: list[str]) -> dict[str, Job]:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("Postgres is away.")
        return {job_id: self.rows[job_id] for job_id in job_ids if job_id in self.rows}


class NoRedis:
    def channel(self, job_id: str) -> str:
        return job_id

    def pubsub(self) -> None:
        raise ConnectionRefusedError

    def snapshot(self, job_id: str) -> None:
        raise AssertionError(job_id)


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def fan(rows, monkeypatch):
    monkeypatch.setattr(hub, "POLL_SECONDS", 0.01)
    made = Hub(rows, NoRedis())
    yield made
    made.close()


def test_only_the_newest_state_is_kept_for_a_slow_client(fan):
    watcher = fan.watch("a")
    watcher.offer(job(), None)
    for percent in range(1000):
        watcher.offer(job(), live(percent / 10))
    assert watcher.next(0) == (job(), live(99.9))
    assert watcher.next(0) is None


def test_every_watcher_of_a_job_sees_a_change_once(fan):
    one, two = fan.watch("a"), fan.watch("a")
    one.offer(job(), None)
    two.offer(job(), None)
    assert one.next(0) == two.next(0) == (job(), None)
    assert one.next(0) is two.next(0) is None


def test_rows_are_polled(fan, rows):
    watcher = fan.watch("a")
    watcher.offer(job(), None)
    watcher.next(0)
    rows.rows["a"] = job(5, later=1)
    assert watcher.next(SOON) == (job(5, later=1), None)


def test_polling_goes_on_after_postgres_was_away(fan, rows):
    rows.away = True
    watcher = fan.watch("a")
    watcher.offer(job(), None)
    watcher.next(0)
    with gevent.Timeout(SOON):
        while rows.asked < 3:
            gevent.sleep(0)
    rows.rows["a"] = job(5, later=1)
    rows.away = False
    assert watcher.next(SOON) == (job(5, later=1), None)


def test_a_row_read_earlier_does_not_undo_a_later_one(fan, rows):
    watcher = fan.watch("a")
    ended = job(status=Status.FAILED, later=2)
    watcher.offer(ended, None)
    watcher.offer(job(later=1), live(50))
    assert watcher.next(0) == (ended, None)
    assert watcher.next(0) is None


def test_a_job_that_vanished_is_over(fan, rows):
    watcher = fan.watch("a")
    watcher.offer(job(), None)
    watcher.next(0)
    assert watcher.next(SOON) is None
    assert watcher.over


def test_closing_ends_everyone(fan):
    watcher = fan.watch("a")
    waiting = gevent.spawn(watcher.next, SOON)
    gevent.sleep(0)
    fan.close()
    assert waiting.get(timeout=SOON) is None
    assert watcher.over
    assert fan.watch("a").next(SOON) is None


def test_a_stream_says_that_it_lives_and_frees_its_place(fan, rows, monkeypatch):
    monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", 0.01)
    rows.rows["a"] = job()
    watcher = fan.watch("a")
    watcher.offer(job(), None)
    stream = events._stream(watcher, Presenter("", SystemClock()), 1)
    assert next(stream).startswith("event:progress\ndata:{")
    assert next(stream) == next(stream) == ": keep-alive\n\n"
    assert fan.watchers == 1
    # What gunicorn does when a write finds the client gone.
    stream.close()
    assert fan.watchers == 0
