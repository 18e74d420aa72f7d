"""Strands: whatever the timestamps of a source are, those of the output rise and nothing is lost."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.errors import MediaInvalid
from downloader.mux.lanes import Strand

MILLISECOND = Fraction(1, 1000)


@dataclass
class Packet:
    """What a strand looks at, in milliseconds."""

    dts: int | None
    pts: int | None
    duration: int | None = 40
    is_corrupt: bool = False
    is_keyframe: bool = True
    size: int = 1
    stream: Any = None


@dataclass
class Stream:
    time_base: Fraction = MILLISECOND
    type: str = "video"
    codec_context: Any = None


def placed(*times: tuple[int | None, int | None], base: float = 0.0, jumps: bool = False) -> list[tuple[int, int]]:
    """The (dts, pts) that a strand gives to packets of these."""
    strand = Strand(Stream(), object(), base, jumps=jumps)
    packets = [Packet(*time) for time in times]
    assert all(strand.place(packet) for packet in packets)
    return [(packet.dts or 0, packet.pts or 0) for packet in packets]


def test_good_times_stay() -> None:
    assert placed((0, 80), (40, 40), (80, 120)) == [(0, 80), (40, 40), (80, 120)]


def test_the_base_is_taken_off() -> None:
    assert placed((1000, 1080), (1040, 1040), base=1.0) == [(0, 80), (40, 40)]


def test_a_repeated_time_moves_on_by_a_tick() -> None:
    assert placed((0, 0), (0, 0), (40, 40)) == [(0, 0), (1, 1), (40, 40)]


def test_a_stumble_is_no_new_count() -> None:
    assert placed((0, 0), (40, 40), (10, 10), (80, 80)) == [(0, 0), (40, 40), (41, 41), (80, 80)]


def test_a_count_that_begins_anew_goes_on() -> None:
    assert placed((5000, 5000), (5040, 5040), (0, 0), (40, 40)) == [(5000,) * 2, (5040,) * 2, (5080,) * 2, (5120,) * 2]


def test_missing_times_are_filled_in() -> None:
    assert placed((0, 0), (None, None), (None, 80), (120, None)) == [(0, 0), (40, 40), (80, 80), (120, 120)]


def test_presentation_never_comes_before_decoding() -> None:
    assert placed((0, 0), (40, 20)) == [(0, 0), (40, 40)]


@pytest.mark.parametrize(("jumps", "after"), [(True, 40), (False, 60_000)])
def test_a_leap_ahead_is_closed_in_a_transport_stream_alone(*, jumps: bool, after: int) -> None:
    assert placed((0, 0), (60_000, 60_000), jumps=jumps)[1] == (after, after)


def test_a_packet_cut_short_is_refused() -> None:
    with pytest.raises(MediaInvalid, match="cut short"):
        Strand(Stream(), object(), 0.0).place(Packet(0, 0, is_corrupt=True))


def test_times_beyond_reason_are_refused() -> None:
    with pytest.raises(MediaInvalid, match="make no sense"):
        placed((2**62, 2**62))


TIME = st.none() | st.integers(-20_000, 20_000)


@given(times=st.lists(st.tuples(TIME, TIME), min_size=1, max_size=30), base=st.floats(-5, 5), jumps=st.booleans())
def test_decoding_times_rise_whatever_comes(
    times: list[tuple[int | None, int | None]], base: float, *, jumps: bool
) -> None:
    found = placed(*times, base=base, jumps=jumps)

    assert all(after > before for (before, _), (after, _) in pairwise(found))
    assert all(pts >= dts for dts, pts in found)
