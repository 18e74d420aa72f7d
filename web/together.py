"""Several calls at the same time, and an answer in time whatever hangs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TypeVar

import gevent

T = TypeVar("T")


class _Late(Exception):
    """Some call has not ended in time."""


def together(calls: Mapping[str, Callable[[], T]], seconds: float) -> dict[str, T]:
    """What those of ``calls`` return that end within ``seconds``, by name; they must not raise. The rest is ended."""
    found: dict[str, T] = {}

    def run(name: str, call: Callable[[], T]) -> None:
        found[name] = call()

    running = [gevent.spawn(run, name, call) for name, call in calls.items()]
    # joinall's own time-out counts from when the loop last ran, which may be long ago.
    with suppress(_Late), at_most(seconds, _Late()):
        gevent.joinall(running)
    gevent.killall([each for each in running if not each.ready()], block=False)
    return dict(found)


@contextmanager
def at_most(seconds: float, late: Exception) -> Iterator[None]:
    """Raises ``late`` when the block lasts longer than ``seconds``."""
    timer = gevent.Timeout(seconds)
    try:
        # Within the block it is the Timeout itself, no Exception: botocore catches all of those and goes on.
        with timer:
            yield
    except gevent.Timeout as ended:
        if ended is not timer:
            raise
        raise late from None


def in_thread(call: Callable[[], T]) -> T:
    """``call``, in a thread: for what blocks in the kernel, where no greenlet gives way. Its caller can be ended."""
    return gevent.get_hub().threadpool.apply(call)
