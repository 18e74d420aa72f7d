"""The stages' queues on a real Valkey."""

import pytest
import redis

from downloader.broker import Broker
from downloader.errors import BrokerUnavailable
from downloader.job import Entry, Progress
from downloader.states import Stage

ONE = Entry("fetch", "job1", "fetch")
TWO = Entry("fetch", "job2", "fetch")


@pytest.fixture
def broker(redis_url, redis_prefix):
    made = Broker(redis_url, redis_prefix)
    yield made
    made.close()


@pytest.fixture
def raw(redis_url):
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    yield client
    client.close()


def read(broker, consumer="c"):
    # The first read of a stream makes its group.
    return broker.read("fetch", consumer, block=0.01) or broker.read("fetch", consumer, block=0.01)


def test_entries_come_in_order_and_once(broker):
    broker.add([ONE, TWO])
    assert [read(broker, "a").entry, read(broker, "b").entry] == [ONE, TWO]
    assert read(broker) is None


def test_what_is_settled_leaves_the_stream(broker):
    broker.add([ONE])
    broker.settle(read(broker), add=[TWO])
    assert broker.entries("fetch") == {TWO}
    assert broker.undelivered("fetch") == 1


def test_nothing_is_settled_where_nothing_can_be_added(broker, raw):
    broker.add([ONE])
    delivery = read(broker)
    raw.config_set("maxmemory", "1")
    try:
        with pytest.raises(BrokerUnavailable):
            broker.settle(delivery, add=[TWO])
    finally:
        raw.config_set("maxmemory", "0")
    assert [item.entry for item in broker.left_by("fetch", "c")] == [ONE]
    broker.settle(delivery, add=[TWO])
    assert broker.entries("fetch") == {TWO}


def test_pending_entries_of_the_dead_are_taken_over(broker):
    broker.add([ONE, TWO])
    read(broker, "dead")
    assert [item.entry for item in broker.left_by("fetch", "dead")] == [ONE]
    assert broker.undelivered("fetch") == 1
    (taken,) = broker.stale("fetch", "heir", idle=0)
    assert taken.entry == ONE
    broker.settle(taken)
    assert broker.stale("fetch", "heir", idle=0) == []
    broker.forget("fetch", "dead")


def test_consumers_that_hold_nothing_and_do_not_ask_are_forgotten(broker, raw):
    broker.add([ONE, TWO])
    read(broker, "holds")
    broker.settle(read(broker, "ended"))
    assert broker.forget_idle("fetch", idle=60) == 0
    assert broker.forget_idle("fetch", idle=0) == 1
    assert [consumer["name"] for consumer in raw.xinfo_consumers(broker.key("fetch"), "workers")] == ["holds"]
    assert broker.forget_idle("mux", idle=0) == 0, "a stream that is not there"


@pytest.mark.parametrize("loss", ["key", "group"])
def test_a_lost_stream_or_group_is_made_anew(broker, raw, loss):
    broker.add([ONE])
    read(broker)
    if loss == "key":
        raw.delete(broker.key("fetch"))
    else:
        raw.xgroup_destroy(broker.key("fetch"), "workers")
    assert broker.left_by("fetch", "c") == []
    assert broker.stale("fetch", "c", idle=0) == []
    broker.forget("fetch", "c")
    assert broker.read("fetch", "c", block=0.01) is None
    broker.add([TWO])
    found = {read(broker).entry for _ in range(1 if loss == "key" else 2)}
    assert found == ({TWO} if loss == "key" else {ONE, TWO})


def test_settling_after_the_group_was_lost_still_adds_and_tells(broker, raw):
    broker.add([ONE])
    delivery = read(broker)
    raw.delete(broker.key("fetch"))
    broker.settle(delivery, add=[TWO])
    assert broker.entries("fetch") == {TWO}


def test_a_pending_entry_that_was_deleted_is_passed_over(broker, raw):
    broker.add([ONE])
    delivery = read(broker, "dead")
    raw.xdel(broker.key("fetch"), delivery.message_id)
    assert broker.left_by("fetch", "dead") == []
    assert broker.stale("fetch", "heir", idle=0) == []


def test_entries_of_another_shape_are_passed_over(broker, raw):
    raw.xadd(broker.key("fetch"), {"odd": "1"})
    broker.add([ONE])
    assert broker.entries("fetch") == {ONE}


def test_progress_is_kept_and_published(broker, raw, redis_prefix):
    pubsub = raw.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe(broker.channel("job1"))
    pubsub.get_message(timeout=1)
    progress = Progress(Stage.DOWNLOAD, 12.5, 1, 8, 3, 2)
    broker.publish({"job1": progress})
    assert broker.snapshot("job1") == progress
    message = pubsub.get_message(timeout=5)
    assert message["data"].startswith('{"type":"progress","data":{"stage":"download","progressPercent":12.5')
    assert 0 < raw.ttl(f"{redis_prefix}:job:job1") <= 600
    pubsub.close()


def test_an_unreachable_redis_is_said_so():
    broker = Broker("redis://127.0.0.1:1/0", "p")
    with pytest.raises(BrokerUnavailable, match="Redis cannot be used"):
        broker.add([ONE])
    assert broker.snapshot("job1") is None
