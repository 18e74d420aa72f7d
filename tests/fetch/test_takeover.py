"""Who crawls, who only seems to: paces and times as numbers."""

from typing import Any

import pytest

from downloader.fetch.chunk import Chunk
from downloader.fetch.limits import MIB, Limits
from downloader.fetch.route import Router
from downloader.fetch.takeover import choose, crawling
from downloader.fetch.writer import Writer
from tests.fetch.conftest import QUICK, settings_for

LIMITS = Limits()


@pytest.fixture
def chunk(tmp_path: Any) -> Any:
    request = Router(settings_for(tmp_path)).request("http://127.0.0.1:9/v.mp4")

    def make(pace: float | None, *, age: float = 5.0, waited: float = 0.05, crawls: int = 0) -> Chunk:
        """A chunk that began ``age`` seconds before now (100.0), with that pace; None: it waits for its head."""
        found = Chunk(
            None,  # type: ignore[arg-type]  # nobody is told anything here
            request,
            (),
            (0, 10 * MIB),
            writer=Writer(),
            fd=-1,
            patience=QUICK.media,
            started=100.0 - age,
            crawls=crawls,
        )
        found.pace, found.headed, found.waited = pace, pace is not None, waited
        return found

    return make


def test_one_at_a_200th_crawls(chunk: Any) -> None:
    siblings, slow = [chunk(2e6) for _ in range(7)], chunk(1e4)
    assert crawling([*siblings, slow], 100.0, LIMITS) == [slow]


@pytest.mark.parametrize(
    "paces",
    [
        [1e4] * 8,  # all equally slow
        [3e5] * 8,
        [1e6, 2e6, 4e6, 5e5, 1e6, 3e6, 2.5e5, 1e6],  # as uneven as TCP shares a line
        [1e4],  # alone
        [None, None],  # nobody has begun
    ],
)
def test_these_do_not(chunk: Any, paces: list[float | None]) -> None:
    assert crawling([chunk(pace) for pace in paces], 100.0, LIMITS) == []


def test_nobody_is_judged_while_tcp_warms_up(chunk: Any) -> None:
    """300 ms away: half a second for the head, and eight round trips to speed."""
    siblings = [chunk(1e7) for _ in range(7)]
    assert crawling([*siblings, chunk(1e5, age=3.0, waited=0.6)], 100.0, LIMITS) == []
    assert len(crawling([*siblings, chunk(1e5, age=6.0, waited=0.6)], 100.0, LIMITS)) == 1


def test_who_waits_for_a_head_is_measured_by_how_long_the_others_did(chunk: Any) -> None:
    patient, quick = [chunk(2e6, waited=1.5) for _ in range(3)], [chunk(2e6, waited=0.02) for _ in range(3)]
    assert crawling([*patient, chunk(None, age=5.0)], 100.0, LIMITS) == []
    assert len(crawling([*quick, chunk(None, age=5.0)], 100.0, LIMITS)) == 1


def test_each_replacement_gets_twice_the_time(chunk: Any) -> None:
    siblings = [chunk(2e6, waited=0.0) for _ in range(7)]
    for crawls in range(5):
        limit = LIMITS.crawl_after * 2**crawls
        assert crawling([*siblings, chunk(None, age=limit * 0.9, crawls=crawls)], 100.0, LIMITS) == []
        assert len(crawling([*siblings, chunk(None, age=limit * 1.1, crawls=crawls)], 100.0, LIMITS)) == 1


def test_the_one_that_would_end_last_is_cut_so_that_both_end_together(chunk: Any) -> None:
    quick, slow = chunk(4e6), chunk(1e6)

    found = choose([quick, slow], 100.0, 3e6, 0.05, LIMITS)

    assert found is not None
    assert found.victim is slow
    assert found.start == 10 * MIB // 4  # a quarter at 1 MB/s takes as long as the rest at 3


def test_one_that_has_just_begun_passes_for_a_typical_one(chunk: Any) -> None:
    new = chunk(None, age=0.01)

    found = choose([new], 100.0, 2e6, 0.05, LIMITS)
    assert found is not None
    assert found.start == 5 * MIB
    assert choose([new], 100.0, None, 0.05, LIMITS) is None, "nothing is known yet"


@pytest.mark.parametrize(("wait", "helped"), [(0.01, True), (0.5, True), (0.8, False)])
def test_nobody_is_helped_who_ends_before_help_comes(chunk: Any, wait: float, *, helped: bool) -> None:
    ends_in_2_s = chunk(5 * MIB)

    assert (choose([ends_in_2_s], 100.0, 5e6, wait, LIMITS) is not None) is helped
