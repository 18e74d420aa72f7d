"""The timeline: which spans of the source are kept, and where they come to lie in the output. Seconds throughout."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from downloader.handoff import Chapter, Cut


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of the source that is kept, from ``start`` to before ``end``; it begins at ``at`` in the output."""

    start: float
    end: float
    at: float

    @property
    def shift(self) -> float:
        """What to take off a time of the source to have it in the output."""
        return self.start - self.at


@dataclass(frozen=True, slots=True)
class Timeline:
    """The spans that are kept, in order."""

    spans: tuple[Span, ...]

    def place(self, time: float) -> float:
        """Where ``time`` of the source is in the output; inside a cut it is the seam."""
        for span in reversed(self.spans):
            if time >= span.start:
                return min(time, span.end) - span.shift
        return 0.0

    def length(self, total: float) -> float:
        """How long the output of a source of ``total`` seconds is."""
        return self.place(total)

    def chapters(self, found: Sequence[Chapter]) -> list[Chapter]:
        """The chapters that are left, moved; of those that begin at the same moment the last one."""
        moved = {round(self.place(chapter.start), 3): chapter.title for chapter in sorted(found, key=_start)}
        return [Chapter(title=title, start=start) for start, title in moved.items()]


WHOLE = Timeline((Span(0.0, math.inf, 0.0),))
"""Nothing is cut."""


def keeping(kept: Iterable[tuple[float, float]]) -> Timeline:
    """The timeline of these kept spans (start, end), laid end to end."""
    spans: list[Span] = []
    at = 0.0
    for start, end in kept:
        if end > start:
            spans.append(Span(start, end, at))
            at += end - start
    return Timeline(tuple(spans))


def without(cuts: Sequence[Cut], total: float) -> Timeline:
    """The timeline of a source of ``total`` seconds without ``cuts``."""
    kept: list[tuple[float, float]] = []
    start = 0.0
    for cut in merged(cuts):
        kept.append((start, cut[0]))
        start = cut[1]
    return keeping([*kept, (start, math.inf)] if start < total else kept)


def merged(cuts: Sequence[Cut]) -> list[tuple[float, float]]:
    """The cuts as (start, end) in order, overlapping ones made one, nonsense left out."""
    found: list[tuple[float, float]] = []
    for start, end in sorted((max(cut.start, 0.0), cut.end) for cut in cuts):
        if not end > start:
            continue
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


def _start(chapter: Chapter) -> float:
    return chapter.start
