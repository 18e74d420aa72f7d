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
JUMP_AHEAD = 10.0
"""Seconds: where clocks may leap, a gap this long is a discontinuity (FFmpeg's own figure)."""

_NEVER = 1 << 62  # a tick that no media reaches
_LIMIT = 30 * 86400.0  # seconds: no media is a month long


class Gate(Protocol):
    """Decides which packets of a strand pass, and by how much they move: see downloader.mux.cuts."""

    def shift(self, packet: Any, start: float, duration: float) -> float | None:
        """Seconds to take off the packet shown from ``start`` for ``duration`` seconds of source; None drops it."""


class Strand:
    """One stream to copy into ``target``. ``base`` (seconds) is taken off every timestamp.

    ``jumps`` says that leaps ahead are discontinuities to close (joined segments), not pauses to keep; ``lossy`` that
    packets cut short are no reason to give up. ``peers`` are all strands of the output, this one too, which meet the
    same discontinuities; ``leapt`` is how many seconds those were so far. ``start`` and ``end`` are the bounds of what
    was copied in seconds of output, ``empty`` says that nothing was. ``reached`` is the end in ticks, ``pause`` the
    tick at which the lane lets others go on.
    """

    def __init__(
        self,
        stream: Any,
        target: Any,
        base: float,
        *,
        jumps: bool = False,
        lossy: bool = False,
        gate: Gate | None = None,
        peers: "list[Strand] | None" = None,
    ) -> None:
        self.tick = float(stream.time_base)
        self.kind: str = stream.type
        self.empty = True
        self._target = target
        self.leapt = 0.0
        self._base = base
        self._offset = -round(base / self.tick)
        self._jumps = jumps
        self._lossy = lossy
        self._gate = gate
        self._delay = int(getattr(stream.codec_context, "has_b_frames", 0)) if stream.type == "video" else 0
        self._peers = [] if peers is None else peers
        self._peers.append(self)
        self._ahead = JUMP_AHEAD / self.tick
        self._longest = self._ahead if jumps else _NEVER
        self._limit = _LIMIT / self.tick
        self._last = -_NEVER
        self._duration = 0
        self._plain = False
        self._placed = -_NEVER
        self._first = _NEVER
        self._until = 0
        self.reached = 0
        self.pause = 0.0

    def place(self, packet: Any) -> bool:
        """Give ``packet`` its stream and timestamps of the output; False when it does not go there.

        Decoding times rise strictly, presentation never comes before decoding, what is missing is filled in.
        """
        if packet.is_corrupt and not self._lossy:
            raise MediaInvalid(f"The {self.kind} track is cut short.")
        dts, pts, duration = packet.dts, packet.pts, packet.duration or 0
        if duration >= self._longest:  # FFmpeg counts a leap to the packet before it
            packet.duration = duration = self._duration
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
        dts, pts = self._timed(source_dts, source_pts, duration)
        self._last, self._duration = dts, duration
        pts = max(pts, dts)
        self._until = max(self._until, pts + duration)
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

    def _timed(self, dts: int | None, pts: int | None, duration: int) -> tuple[int, int]:
        """Decoding and presentation time on the output's timeline, mended where they are missing or make no sense."""
        first = self._last == -_NEVER
        if dts is None:
            if pts is None:
                return self._expected, self._expected
            # Matroska says when pictures are shown, not when they are decoded: the first of them well before.
            dts = pts - self._delay * duration if first else min(pts, self._expected - self._offset)
        dts, pts = dts + self._offset, (dts if pts is None else pts) + self._offset
        if first or 0 < dts - self._last < self._ahead:
            return dts, pts
        moved = self._discontinuity(dts, pts)
        return max(dts + moved, self._last + 1), pts + moved

    @property
    def _expected(self) -> int:
        """When the next packet is to be decoded, by the last one."""
        return 0 if self._last == -_NEVER else self._last + (self._duration or 1)

    @property
    def source_end(self) -> float:
        """When the last of what was read ends, in seconds, with what a gate keeps back."""
        return (self._until if self._gate else max(self._until, self.reached)) * self.tick

    def _near(self, dts: int) -> bool:
        """Whether a packet may be decoded at ``dts`` next: at most a stumble back, or a pause."""
        step = (dts - self._last) * self.tick
        return step >= -_JUMP_BACK and (step < JUMP_AHEAD or not self._jumps)

    def _discontinuity(self, dts: int, pts: int) -> int:
        """By how many ticks packets move from one on that comes where it is not expected.

        A peer that has met the discontinuity says where it leads, so that they stay in time; the first of them goes on
        where the last one ends.
        """
        off = abs(dts - self._expected)
        for leapt in {peer.leapt for peer in self._peers}:
            moved = round((self.leapt - leapt) / self.tick)
            if self._near(dts + moved) and abs(dts + moved - self._expected) < off:
                return self._leap(leapt)
        if self._near(dts):
            return 0
        return self._leap(self.leapt + pts * self.tick - max(peer.source_end for peer in self._peers))

    def _leap(self, leapt: float) -> int:
        before, self.leapt = self._offset, leapt
        self._offset = -round((self._base + leapt) / self.tick)
        return self._offset - before


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
