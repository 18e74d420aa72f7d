"""Where slots get their entries from, and what the log says of it."""

import pytest
from structlog.testing import capture_logs

from downloader.broker import Delivery
from downloader.errors import BrokerUnavailable
from downloader.store import Entry
from stages.source import Source

FOUND = Delivery(Entry("a", "resolve", "resolve"))


class Redis:
    """A broker that is there or not."""

    away = True

    def read(self, stage, consumer):
        if self.away:
            raise BrokerUnavailable("Redis cannot be reached.")
        return FOUND


@pytest.fixture
def redis():
    return Redis()


@pytest.fixture
def source(house, redis):
    house.stop.set()  # so that no poll waits
    return Source(house.store, redis, "resolve", house.stop, house.clock)


def test_an_outage_is_logged_when_it_begins_and_once_a_minute(house, source):
    with capture_logs() as said:
        for _ in range(100):
            source.next("w/0")
        assert [line["event"] for line in said] == ["queue_unreachable"]
        house.clock.sleep(61)
        for _ in range(100):
            source.next("w/1")
        assert [line["event"] for line in said] == ["queue_unreachable"] * 2


def test_the_end_of_an_outage_is_logged_and_the_next_one_too(source, redis):
    with capture_logs() as said:
        for redis.away in (False, True, True, False, False, True):
            assert source.next("w/0") == (None if redis.away else FOUND)
    assert [line["event"] for line in said] == ["queue_unreachable", "queue_reachable", "queue_unreachable"]
