"""Live progress: percent that never falls, speed over a window, an ETA that does not jump."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.route import ROUTE, percent_window
from downloader.states import Stage
from stages.feed import TICK_SECONDS, Feed, Meter
from tests.stages.driving import claim, finish


def fetching(house):
    """A job at its fetch: its id, what a worker holds of it, and the feed that tells of it."""
    job_id = house.post()
    finish(house.store, claim(house.store, job_id))
    beats = house.beats()
    held = beats.hold(claim(house.store, job_id, "fetch"), house.clock.monotonic())
    feed = Feed(beats, house.broker, house.clock)
    return job_id, held, feed


def test_progress_is_published_while_it_changes(house):
    job_id, held, feed = fetching(house)
    feed.run_once()
    assert house.broker.snapshot(job_id) is None
    held.progress(50, 100)
    feed.run_once()
    snapshot = house.broker.snapshot(job_id)
    assert (snapshot.stage, snapshot.downloaded_bytes, snapshot.total_bytes) == (Stage.DOWNLOAD, 50, 100)
    start, end = percent_window("fetch")
    assert snapshot.progress_percent == pytest.approx((start + end) / 2, abs=0.1)


def test_bytes_are_told_of_a_length_that_nobody_knows(house):
    job_id, held, feed = fetching(house)
    held.progress(50, 0)
    feed.run_once()
    snapshot = house.broker.snapshot(job_id)
    assert (snapshot.downloaded_bytes, snapshot.total_bytes, snapshot.eta_seconds) == (50, 0, None)
    assert snapshot.progress_percent == pytest.approx(percent_window("fetch")[0], abs=0.1)
    held.progress(60, 80)
    feed.run_once()
    assert house.broker.snapshot(job_id).progress_percent > snapshot.progress_percent


def test_percent_does_not_fall_when_a_step_starts_again(house):
    job_id = house.post()
    finish(house.store, claim(house.store, job_id))
    first = claim(house.store, job_id, "fetch")
    beats = house.beats()
    feed = Feed(beats, house.broker, house.clock)
    held = beats.hold(first, house.clock.monotonic())
    held.progress(90, 100)
    feed.run_once()
    before = house.broker.snapshot(job_id).progress_percent
    beats.drop(held)
    house.store.give_back(first, crashes=1)
    again = beats.hold(claim(house.store, job_id, "fetch"), house.clock.monotonic())
    again.progress(5, 100)
    feed.run_once()
    assert house.broker.snapshot(job_id).progress_percent == before
    assert house.broker.snapshot(job_id).downloaded_bytes == 5


def test_a_process_that_was_stopped_past_its_lease_says_nothing(house):
    job_id = house.post()
    beats = house.beats()
    held = beats.hold(claim(house.store, job_id), house.clock.monotonic())
    held.progress(50, 100)
    house.clock.offset += house.settings.lease_seconds + 1
    feed = Feed(beats, house.broker, house.clock)
    feed.run_once()
    assert house.broker.snapshot(job_id) is None
    beats.run_once()
    feed.run_once()
    assert house.broker.snapshot(job_id).step == "resolve", "Postgres says that it is ours"


def test_the_windows_of_the_route_follow_each_other_below_a_hundred():
    windows = [percent_window(name) for name in ROUTE]
    assert windows[0][0] == 0
    assert all(before[1] <= after[0] for before, after in pairwise(windows))
    assert windows[-1][1] < 100


def test_speed_is_over_a_sliding_window():
    meter = Meter()
    for second in range(20):
        meter.add(second, min(second, 10) * 1000)
    assert meter.speed == 0
    assert Meter().eta(5) is None


def test_an_eta_does_not_jump_when_the_speed_does():
    meter, done, shown = Meter(), 0, []
    for tick in range(240):
        done += 100 if tick // 20 % 2 else 300  # bytes a tick: three times as fast, then slow, every five seconds
        meter.add(tick * TICK_SECONDS, done)
        shown.append(meter.eta(1_000_000 - done))
    settled = shown[20:]
    assert all(abs(after - before) <= 0.15 * before for before, after in pairwise(settled))


def test_an_eta_adapts_to_what_lasts():
    meter, done = Meter(), 0
    for tick in range(80):
        done += 300 if tick < 40 else 100
        meter.add(tick * TICK_SECONDS, done)
    assert meter.eta(4000) == pytest.approx(10, abs=1)


def test_a_transfer_that_stands_still_has_no_speed_in_the_end(house):
    job_id = house.post()
    beats = house.beats()
    held = beats.hold(claim(house.store, job_id), house.clock.monotonic())
    feed = Feed(beats, house.broker, house.clock)
    for done in (1_000, 2_000, 3_000):
        held.progress(done, 10_000)
        feed.run_once()
        house.clock.offset += 1
        beats.run_once()
    assert house.broker.snapshot(job_id).speed_bytes_per_second > 0
    for _ in range(5):
        feed.run_once()
        house.clock.offset += 1
        beats.run_once()
    snapshot = house.broker.snapshot(job_id)
    assert (snapshot.speed_bytes_per_second, snapshot.eta_seconds) == (0, None)


@given(st.lists(st.tuples(st.floats(0.01, 5), st.integers(0, 10**9)), min_size=2, max_size=50))
def test_a_meter_never_fails_nor_goes_negative(steps):
    meter, now = Meter(), 0.0
    for passed, done in steps:
        now += passed
        meter.add(now, done)
        assert meter.speed >= 0
        assert (meter.eta(10**6) or 0) >= 0
