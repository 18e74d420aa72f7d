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
_LIMIT = 30 * 86400.0  # seconds: no media is a month long


class Gate(Protocol):
    """Decides which packets of a strand pass, and by how much they move: see downloader.mux.cuts."""

    def shift(self, packet: Any, start: float) -> float | None:
        """Seconds to take off the packet that begins at ``start`` on the source's timeline; None drops it."""


class Strand:
    """One stream to copy into ``target``. ``base`` (seconds) is taken off every timestamp.

    ``jumps`` says that leaps ahead are discontinuities to close (a transport stream), not pauses to keep. After the
    copy ``start`` and ``end`` are its bounds in seconds of output, ``count`` its packets.
    """

    def __init__(self, stream: Any, target: Any, base: float, *, jumps: bool = False, gate: Gate | None = None) -> None:
        self.target = target
        self.tick = float(stream.time_base)
        self.kind: str = stream.type
        self.start = math.inf
        self.end = 0.0
        self.count = 0
        self._offset = -round(base / self.tick)
        self._last: int | None = None
        self._expected = 0
        self._jumps = jumps
        self._gate = gate

    def place(self, packet: Any) -> bool:
        """Give ``packet`` its stream and timestamps of the output; False when it does not go there.

        Decoding times rise strictly, presentation never comes before decoding, what is missing is filled in.
        """
        if packet.is_corrupt and not self._jumps:
            raise MediaInvalid(f"The {self.kind} track is cut short.")
        source_dts, source_pts = packet.dts, packet.pts
        if source_dts is None and source_pts is None:
            dts = pts = self._expected
        else:
            dts = (source_pts if source_dts is None else source_dts) + self._offset
            pts = (source_dts if source_pts is None else source_pts) + self._offset
        if self._last is not None and not 0 < dts - self._last < _JUMP_AHEAD / self.tick:
            moved = self._mended(dts, self._last)
            if abs(moved - dts) * self.tick > _JUMP_BACK:
                self._offset += moved - dts
                pts += moved - dts
            dts = moved
        self._last, self._expected = dts, dts + max(packet.duration or 0, 1)
        pts = max(pts, dts)
        if self._gate is not None:
            shift = self._gate.shift(packet, pts * self.tick)
            if shift is None:
                return False
            dts, pts = dts - round(shift / self.tick), pts - round(shift / self.tick)
        self._note(packet, dts, pts)
        if dts != source_dts:
            packet.dts = dts
        if pts != source_pts:
            packet.pts = pts
        packet.stream = self.target
        return True

    def _mended(self, dts: int, last: int) -> int:
        """Where a packet belongs whose time repeats, goes back or leaps."""
        step = (dts - last) * self.tick
        if step > _JUMP_AHEAD:
            return self._expected if self._jumps else dts
        return self._expected if step < -_JUMP_BACK else max(dts, last + 1)

    def _note(self, packet: Any, dts: int, pts: int) -> None:
        start = pts * self.tick
        if not -_LIMIT < start < _LIMIT or not dts * self.tick > -_LIMIT:
            raise MediaInvalid(f"The timestamps of the {self.kind} track make no sense.")
        self.start = min(self.start, start)
        end = start + (packet.duration or 0) * self.tick
        self.end = max(self.end, end)
        self.count += 1


class Lane:
    """The strands of one input, by the index of their streams there. ``clock`` is how far it got, in seconds."""

    def __init__(self, packets: Iterator[Any], strands: dict[int, Strand]) -> None:
        self.clock = 0.0
        self.strands = strands
        self._packets = packets

    def advance(self, mux: Callable[[Any], None], until: float) -> bool:
        """Copy packets until the clock reaches ``until``; False when there are no more."""
        strands = self.strands
        for packet in self._packets:
            strand = strands.get(packet.stream_index)
            if strand is None or not packet.size:
                continue
            if strand.place(packet):
                mux(packet)
            if strand.end >= until:
                self.clock = strand.end
                return True
        self.clock = math.inf
        return False


def copy(lanes: Sequence[Lane], mux: Callable[[Any], None], advance: Callable[[float], None]) -> None:
    """Copy all lanes to their ends; ``advance`` hears how many seconds of output are through."""
    live = list(lanes)
    while live:
        lane = min(live, key=lambda one: one.clock)
        others = (one.clock for one in live if one is not lane)
        if not lane.advance(mux, min(others, default=lane.clock) + STRIDE):
            live.remove(lane)
        if live:
            advance(min(one.clock for one in live))
