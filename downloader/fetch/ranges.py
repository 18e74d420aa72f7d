"""Sets of byte ranges: half-open ``[start, end)`` pairs, sorted, disjoint and never adjacent."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Ranges:
    """What of a file is there."""

    __slots__ = ("_ends", "_starts", "total")

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.total = 0
        for start, end in pairs:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def add(self, start: int, end: int) -> None:
        """Put ``[start, end)`` in, merging what touches it. An empty range changes nothing."""
        if start >= end:
            return
        low = bisect_left(self._ends, start)
        high = bisect_right(self._starts, end)
        if low < high:
            start = min(start, self._starts[low])
            end = max(end, self._ends[high - 1])
            self.total -= sum(self._ends[low:high]) - sum(self._starts[low:high])
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]
        self.total += end - start

    @property
    def prefix(self) -> int:
        """How many bytes from the file's beginning are there without a break."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    def holds(self, start: int, end: int) -> bool:
        """Whether all of ``[start, end)`` is there."""
        at = bisect_right(self._starts, start) - 1
        return start >= end or (at >= 0 and end <= self._ends[at])

    def gaps(self, size: int) -> Iterator[tuple[int, int]]:
        """What is missing of ``[0, size)``, in order."""
        at = 0
        for start, end in self:
            if start >= size:
                break
            if at < start:
                yield at, start
            at = end
        if at < size:
            yield at, size

    def clip(self, size: int) -> "Ranges":
        """A copy without what lies at or past ``size``."""
        return Ranges((start, min(end, size)) for start, end in self if start < size)
