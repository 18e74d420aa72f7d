"""How many connections: against hosts of every kind, as formulas."""

from collections.abc import Callable

import pytest

from downloader.fetch.concurrency import Concurrency


def after(host: Callable[[int, float], float], most: int, seconds: int = 120) -> Concurrency:
    """The state after that long on a host whose rate is ``host(connections, time)``; ten ticks a second."""
    found, moved = Concurrency(most), 0.0
    for tick in range(seconds * 10):
        moved += host(found.width, tick / 10) / 10
        found.observe(tick / 10, int(moved), found.width)
    return found


@pytest.mark.parametrize(
    ("host", "most", "low", "high"),
    [
        (lambda used, _now: 300_000 * used, 8, 8, 8),  # each connection capped
        (lambda used, _now: 300_000 * used, 32, 32, 32),
        (lambda used, _now: 1e6 * min(used, 12), 64, 12, 13),  # the line is full at twelve
        (lambda _used, _now: 1e8, 64, 8, 9),  # one would do: no more than to begin with
        (lambda used, _now: 1e6 * used if used <= 10 else 1e5, 64, 5, 11),  # falls over past ten
        (lambda used, now: 1e6 * used if now < 30 or used <= 4 else 1e4, 8, 2, 5),  # turns against eight
    ],
)
def test_settles_where_the_throughput_is(host: Callable[[int, float], float], most: int, low: int, high: int) -> None:
    assert low <= after(host, most).width <= high


def test_never_below_one_nor_above_the_most() -> None:
    assert after(lambda _used, now: 1e9 / (1 + now**4), 64).width >= 1
    assert after(lambda used, _now: used, 3).width == 3


def test_half_used_connections_say_nothing() -> None:
    found = Concurrency(16)
    for tick in range(100):
        found.observe(tick / 10, 0, 1)
    assert found.width == 8
