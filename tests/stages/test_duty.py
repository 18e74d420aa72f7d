"""Threads that have a duty keep it, whatever one round of it met."""

import structlog

from stages.beats import Beats
from stages.duty import keep
from stages.feed import Feed
from tests.stages.driving import claim


class Rounds:
    """A stop event that lets so many rounds pass, and notes how long each one waited."""

    def __init__(self, rounds):
        self.left = rounds
        self.waited = []

    def wait(self, seconds):
        self.waited.append(seconds)
        self.left -= 1
        return self.left < 0


def failing_once(then):
    """A function that fails as nobody foresaw, and after that does what ``then`` does."""
    fails = iter([True])

    def call(*args, **kwargs):
        if next(fails, False):
            raise ZeroDivisionError
        return then(*args, **kwargs)

    return call


def test_an_unforeseen_error_is_seen_and_ends_no_duty():
    done = []
    stop = Rounds(3)
    with structlog.testing.capture_logs() as said:
        keep(failing_once(lambda: done.append(1)), stop, 0.25)
    assert len(done) == 2
    assert [(line["event"], line["log_level"]) for line in said] == [("duty_failed", "error")]
    assert stop.waited == [0.25, 1.0, 0.25, 0.25], "one that lasts does not fill the log"


def test_a_lease_is_lengthened_after_an_unforeseen_error(house, monkeypatch):
    job_id = house.post()
    beats = house.beats()
    held = beats.hold(claim(house.store, job_id, lease=0.0), house.clock.monotonic())
    monkeypatch.setattr(house.store, "beat", failing_once(house.store.beat))
    with structlog.testing.capture_logs() as said:
        beats.run(Rounds(2))
    assert [line["duty"] for line in said] == [Beats.run_once.__qualname__]
    assert not house.store.lapsed()
    beats.check(held)


def test_who_cannot_say_that_it_lives_keeps_its_leases(house, monkeypatch):
    job_id = house.post()
    beats = house.beats()
    beats.hold(claim(house.store, job_id, lease=0.0), house.clock.monotonic())
    monkeypatch.setattr(house.store, "here", failing_once(lambda *_: None))
    beats.run(Rounds(1))
    assert not house.store.lapsed()


def test_progress_goes_on_after_an_unforeseen_error(house, monkeypatch):
    job_id = house.post()
    beats = house.beats()
    held = beats.hold(claim(house.store, job_id), house.clock.monotonic())
    monkeypatch.setattr(house.broker, "publish", failing_once(house.broker.publish))
    held.progress(50, 100)
    feed = Feed(beats, house.broker, house.clock)
    feed.run(Rounds(1))
    held.progress(60, 100)
    feed.run(Rounds(1))
    assert house.broker.snapshot(job_id).downloaded_bytes == 0, "of the stage before the download"
    assert house.broker.snapshot(job_id).step == "resolve"
