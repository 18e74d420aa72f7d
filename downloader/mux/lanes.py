"""Lanes: tracks on their way from a demuxer to the muxer, packet by packet, as they are.

Lanes take turns by time, each for ``STRIDE`` seconds; the muxer's own queue does the fine interleaving. A strand is one
elementary stream of a lane: it puts every packet in its place on the output's timeline.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from downloader.errors import MediaInvalid

STRIDE = 0.5
_JUMP_BACK = 1.0  # seconds: a timestamp that falls by more is a new count, one that falls by less a stumble
_JUMP_AHEAD = 10.0  # seconds: in a transport stream a gap this long is a discontinuity (FFmpeg's own figure)
_NEVER = 1 << 62  # a tick that no media reaches
_LIMIT = 30 * 86400.0  # seconds: no media is a month long


class Gate(Protocol):
    """Decides which packets of a strand pass, and by how much they move: see downloader.mux.cuts."""

    def shift(self, packet: Any, start: float, duration: float) -> float | None:
        """Seconds to take off the packet shown from ``start`` for ``duration`` seconds of source; None drops it."""


class Strand:
    """One stream to copy into ``target``. ``base`` (seconds) is taken off every timestamp.

    ``jumps`` says that leaps ahead are discontinuities to close (a transport stream), not pauses to keep. ``start`` and
    ``end`` are the bounds of what was copied in seconds of output, ``empty`` says that nothing was. ``reached`` is the
    end in ticks, ``pause`` the tick at which the lane lets others go on.
    """

    def __init__(self, stream: Any, target: Any, base: float, *, jumps: bool = False, gate: Gate | None = None) -> None:
        self.tick = float(stream.time_base)
        self.kind: str = stream.type
        self.empty = True
        self._target = target
        self._offset = -round(base / self.tick)
        self._jumps = jumps
        self._gate = gate
        self._ahead = _JUMP_AHEAD / self.tick
        self._limit = _LIMIT / self.tick
        self._last = -_NEVER
        self._duration = 0
        self._plain = False
        self._placed = -_NEVER
        self._first = _NEVER
        self.reached = 0
        self.pause = 0.0

    def place(self, packet: Any) -> bool:
        """Give ``packet`` its stream and timestamps of the output; False when it does not go there.

        Decoding times rise strictly, presentation never comes before decoding, what is missing is filled in.
        """
        if packet.is_corrupt and not self._jumps:
            raise MediaInvalid(f"The {self.kind} track is cut short.")
        dts, pts, duration = packet.dts, packet.pts, packet.duration or 0
        if dts is None or pts is None or not (self._plain and 0 < dts - self._last < self._ahead and pts >= dts):
            return self._correct(packet, dts, pts, duration)
        # Nearly every packet of nearly every file comes this way: it stays as it is.
        self._last, self._duration = dts, duration
        packet.stream = self._target
        pts += duration
        if pts > self.reached:  # noqa: PLR1730 - calling max takes longer
            self.reached = pts
        return True

    def _correct(self, packet: Any, source_dts: int | None, source_pts: int | None, duration: int) -> bool:
        dts, pts = self._timed(source_dts, source_pts)
        self._last, self._duration = dts, duration
        pts = max(pts, dts)
        if self._gate is not None:
            shift = self._gate.shift(packet, pts * self.tick, duration * self.tick)
            if shift is None:
                return False
            ticks = round(shift / self.tick)
            # Where the order of decoding differs on both sides of a seam, decoding times must still rise.
            dts = max(dts - ticks, self._placed + 1)
            pts = max(pts - ticks, dts)
            self._placed = dts
        if not -self._limit < dts <= pts < self._limit:
            raise MediaInvalid(f"The timestamps of the {self.kind} track make no sense.")
        if dts != source_dts:
            packet.dts = dts
        if pts != source_pts:
            packet.pts = pts
        packet.stream = self._target
        self._first = min(self._first, pts)
        self.reached = max(self.reached, pts + duration)
        self.empty = False
        self._plain = self._gate is None and not self._offset
        return True

    @property
    def start(self) -> float:
        """When the first of what was copied begins, in seconds of output."""
        return self._first * self.tick

    @property
    def end(self) -> float:
        """When the last of what was copied ends, in seconds of output."""
        return self.reached * self.tick

    def _timed(self, dts: int | None, pts: int | None) -> tuple[int, int]:
        """Decoding and presentation time on the output's timeline, mended where they are missing or make no sense."""
        if dts is None:
            if pts is None:
                expected = self._expected
                return expected, expected
            dts = pts
        dts, pts = dts + self._offset, (dts if pts is None else pts) + self._offset
        if self._last == -_NEVER or 0 < dts - self._last < self._ahead:
            return dts, pts
        mended = self._mended(dts, self._last)
        if abs(mended - dts) * self.tick > _JUMP_BACK:
            self._offset += mended - dts
            pts += mended - dts
        return mended, pts

    @property
    def _expected(self) -> int:
        """When the next packet is to be decoded, by the last one."""
        return 0 if self._last == -_NEVER else self._last + (self._duration or 1)

    def _mended(self, dts: int, last: int) -> int:
        """When a packet is to be decoded whose time repeats, goes back or leaps."""
        step = (dts - last) * self.tick
        if step >= _JUMP_AHEAD:
            return self._expected if self._jumps else dts
        return self._expected if step < -_JUMP_BACK else max(dts, last + 1)


class Lane:
    """The strands of one input, by the index of their streams there. ``clock`` is how far it got, in seconds."""

    def __init__(self, packets: Iterator[Any], strands: dict[int, Strand]) -> None:
        self.clock = 0.0
        self.strands = strands
        self._packets = packets

    def advance(self, mux: Callable[[Any], None], until: float) -> bool:
        """Copy packets until the clock reaches ``until``; False when there are no more."""
        strands = self.strands
        for each in strands.values():
            each.pause = until / each.tick
        for packet in self._packets:
            strand = strands.get(packet.stream_index)
            if strand is None or not packet.size:
                continue
            if strand.place(packet):
                mux(packet)
            if strand.reached >= strand.pause:
                self.clock = strand.end
                return True
        self.clock = math.inf
        return False


class Source(Protocol):
    """What takes turns in ``copy``: a Lane, or one of subtitles."""

    clock: float

    def advance(self, mux: Callable[[Any], None], until: float) -> bool:
        """See Lane.advance."""


def copy(lanes: Sequence[Source], mux: Callable[[Any], None], advance: Callable[[float], None]) -> None:
    """Copy all lanes to their ends; ``advance`` hears how many seconds of output are through."""
    live = list(lanes)
    while live:
        lane = min(live, key=lambda one: one.clock)
        others = (one.clock for one in live if one is not lane)
        if not lane.advance(mux, min(others, default=lane.clock) + STRIDE):
            live.remove(lane)
        if live:
            advance(min(one.clock for one in live))
