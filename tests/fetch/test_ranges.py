"""Sets of ranges against the plainest model there is: a set of integers."""

from hypothesis import given
from hypothesis import strategies as st

from downloader.fetch.gaps import Gap, Gaps
from downloader.fetch.ranges import Ranges

PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=30)


def model(pairs: list[tuple[int, int]]) -> set[int]:
    return {byte for start, end in pairs for byte in range(start, end)}


@given(PAIRS, st.integers(0, 70))
def test_like_a_set_of_integers(pairs: list[tuple[int, int]], size: int) -> None:
    ranges, bytes_ = Ranges(pairs), model(pairs)
    assert model(list(ranges)) == bytes_
    assert ranges.total == len(bytes_)
    assert ranges.prefix == next(byte for byte in range(62) if byte not in bytes_)
    assert model(list(ranges.gaps(size))) == set(range(size)) - bytes_
    assert model(list(ranges.clip(size))) == {byte for byte in bytes_ if byte < size}
    assert all(one[1] < two[0] for one, two in zip(list(ranges), list(ranges)[1:], strict=False))


@given(PAIRS, st.lists(st.integers(1, 9), max_size=40))
def test_gaps_hand_out_each_byte_once(pairs: list[tuple[int, int]], sizes: list[int]) -> None:
    done = Ranges(pairs)
    gaps, taken = Gaps.of(done, 60), []
    for size in sizes:
        gap = gaps.take(0.0, size)
        if gap is not None:
            assert 0 < gap.end - gap.start <= size
            taken.append((gap.start, gap.end))
    assert len(model(taken)) == sum(end - start for start, end in taken)
    assert gaps.bytes + len(model(taken)) + len([byte for byte in model(pairs) if byte < 60]) == 60


def test_a_gap_waits_for_its_time() -> None:
    gaps = Gaps([(0, 10)])
    first = gaps.take(0.0, 4)
    assert first == Gap(0, 4)
    gaps.put(Gap(0, 4, 1, not_before=5.0))
    assert gaps.take(1.0, 100) == Gap(4, 10)
    assert gaps.take(1.0, 100) is None
    assert gaps.take(5.0, 100) == Gap(0, 4, 1, 5.0)
