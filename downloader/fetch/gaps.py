"""What of a track is still to be asked for: ranges that nobody works on, each with its history of failures."""

from collections.abc import Iterable
from dataclasses import dataclass

from downloader.fetch.ranges import Ranges

UNKNOWN = 1 << 60
"""The end of a range whose end nobody knows."""


@dataclass(slots=True)
class Gap:
    """``[start, end)``, tried ``failures`` times in a row without progress, not to be tried before ``not_before``.

    ``overlap`` bytes before it are on disk and are to be asked for as well, to compare them. ``crawls``: how often it
    was taken from a connection that crawled.
    """

    start: int
    end: int
    failures: int = 0
    not_before: float = 0.0
    overlap: int = 0
    crawls: int = 0


class Gaps:
    """Disjoint gaps in order."""

    def __init__(self, pairs: Iterable[tuple[int, int]]) -> None:
        self._gaps = [Gap(start, end) for start, end in pairs]

    @classmethod
    def of(cls, done: Ranges, size: int | None, *, overlap: int = 0) -> "Gaps":
        """Everything that ``done`` lacks of a file of ``size`` bytes (None: unknown), overlapping what is there."""
        gaps = cls(done.gaps(UNKNOWN if size is None else size))
        there = {end: min(overlap, end - start) for start, end in done}
        for gap in gaps._gaps:
            gap.overlap = there.get(gap.start, 0)
        return gaps

    def __bool__(self) -> bool:
        return bool(self._gaps)

    @property
    def bytes(self) -> int:
        """How many bytes nobody works on."""
        return sum(gap.end - gap.start for gap in self._gaps)

    def take(self, now: float, size: int) -> Gap | None:
        """The first gap whose time has come, cut to ``size`` bytes; the rest of it stays."""
        for index, gap in enumerate(self._gaps):
            if gap.not_before <= now:
                if gap.end - gap.start <= size:
                    return self._gaps.pop(index)
                taken = Gap(gap.start, gap.start + size, gap.failures, overlap=gap.overlap, crawls=gap.crawls)
                gap.start += size
                gap.overlap = 0
                return taken
        return None

    def put(self, gap: Gap) -> None:
        """Give a range back. An empty one vanishes."""
        if gap.start < gap.end:
            self._gaps.append(gap)
            self._gaps.sort(key=lambda item: item.start)

    def clip(self, size: int) -> None:
        """Forget what lies at or past ``size``."""
        self._gaps = [gap for gap in self._gaps if gap.start < size]
        for gap in self._gaps:
            gap.end = min(gap.end, size)
