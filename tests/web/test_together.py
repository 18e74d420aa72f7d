"""Several calls at once: each is waited for as long as was said, and none longer."""

import threading
import time

import gevent
import pytest

from web.together import at_most, in_thread, together


def test_what_ends_in_time_is_there_and_the_rest_is_ended():
    ended = []

    def hangs() -> int:
        try:
            gevent.sleep(20)
        except gevent.GreenletExit:
            ended.append(True)
        return 3

    began = time.monotonic()
    assert together({"soon": lambda: 1, "thread": lambda: in_thread(lambda: 2), "late": hangs}, 0.2) == {
        "soon": 1,
        "thread": 2,
    }
    gevent.idle()
    assert ended == [True]
    assert time.monotonic() - began < 10


def test_no_call_is_late_because_the_loop_was_idle():
    gevent.get_hub().loop.update_now()
    begin = time.monotonic()
    while time.monotonic() - begin < 0.6:
        pass
    assert together({"thread": lambda: in_thread(lambda: 1)}, 0.5) == {"thread": 1}


def test_threads_that_hang_make_no_answer_late():
    free = threading.Event()
    pool = gevent.get_hub().threadpool
    for _ in range(pool.maxsize):
        pool.spawn(free.wait)
    try:
        began = time.monotonic()
        assert together({"full": lambda: in_thread(lambda: 1), "soon": lambda: 2}, 0.1) == {"soon": 2}
        assert time.monotonic() - began < 5
    finally:
        free.set()
    assert in_thread(lambda: 3) == 3


class Late(Exception):
    """A block lasted too long."""


def test_a_limit_holds_in_what_catches_every_exception():
    caught = []

    def stubborn() -> None:
        for _ in range(2):
            try:
                gevent.sleep(20)
            except Exception as error:
                caught.append(error)

    with pytest.raises(Late), at_most(0.01, Late()):
        stubborn()
    assert not caught


def test_a_limit_around_another_is_not_taken_for_it():
    outer = gevent.Timeout(0.01)
    with pytest.raises(gevent.Timeout) as ended, outer, at_most(20, Late()):
        gevent.sleep(20)
    assert ended.value is outer


def test_a_limit_lets_results_and_errors_through():
    with at_most(20, Late()):
        done = True
    assert done
    with pytest.raises(KeyError), at_most(20, Late()):
        raise KeyError
