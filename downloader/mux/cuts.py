"""SponsorBlock cuts by stream copy: picture resumes at a key frame, sound follows, and no gap is left.

A cut's picture ends with the last frame before it from which nothing later is needed, and resumes at the key frame
nearest to the cut's end, so at most half a group of pictures is kept or lost. Frames that follow that key frame and
are shown before it refer to what was cut, and are dropped. Sound is cut to match by whole frames, continuously.
"""

import math
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from downloader.handoff import Cut
from downloader.mux.timeline import Timeline, keeping, merged


@dataclass(slots=True)
class Survey:
    """A gate that lets nothing pass and notes every picture: presentation times in decoding order, in seconds."""

    times: "array[float]" = field(default_factory=lambda: array("d"))
    keys: list[int] = field(default_factory=list)
    end: float = 0.0

    def shift(self, packet: Any, start: float, duration: float) -> float | None:
        """See downloader.mux.lanes.Gate."""
        if packet.is_keyframe:
            self.keys.append(len(self.times))
        self.times.append(start)
        self.end = max(self.end, start + duration)
        return None


@dataclass(frozen=True, slots=True)
class Scene:
    """Pictures to keep: in decoding order from number ``first`` to before ``last``; shown from ``start`` on."""

    first: int
    last: int
    start: float


@dataclass(frozen=True, slots=True)
class Snapped:
    """What the cuts come to for a given picture track; ``kept_whole`` counts cuts that no key frame allowed."""

    scenes: tuple[Scene, ...]
    timeline: Timeline
    kept_whole: int


def snap(survey: Survey, cuts: Sequence[Cut]) -> Snapped:
    """Fit ``cuts`` to the key frames of ``survey``."""
    scenes: list[Scene] = []
    kept: list[tuple[float, float]] = []
    first, begin, kept_whole, count = 0, 0.0, 0, len(survey.times)
    for asked, end in merged(cuts):
        start = max(asked, begin)
        resume = _resume(survey, start, end)
        if end <= start or start >= survey.end:
            continue
        if resume is None:
            kept_whole += 1
            continue
        stop = next((at for at in range(first, count) if survey.times[at] >= start), count)
        if resume <= stop:
            continue  # it is shorter than a picture
        seam = max(min(survey.times[stop:resume]), begin)
        if seam > begin:
            scenes.append(Scene(first, stop, begin))
            kept.append((begin, seam))
        first, begin = resume, survey.end if resume == count else survey.times[resume]
    if first < count:
        scenes.append(Scene(first, count, begin))
        kept.append((begin, math.inf))
    return Snapped(tuple(scenes), keeping(kept), kept_whole)


def _resume(survey: Survey, start: float, end: float) -> int | None:
    """The number of the picture to go on with (or the count of pictures: none), None to leave the cut alone."""
    keys = [key for key in survey.keys if survey.times[key] > start]
    at = bisect_left([survey.times[key] for key in keys], end)
    ends = len(survey.times)
    places = [(abs(survey.times[key] - end), key) for key in keys[max(at - 1, 0) : at + 1]]
    if at == len(keys):
        places.append((abs(survey.end - end) if end < survey.end else 0.0, ends))
    distance, nearest = min(places, key=lambda place: place[0])
    return nearest if distance <= end - start else None


class PictureGate:
    """Lets the pictures of the scenes pass, in decoding order."""

    def __init__(self, snapped: Snapped) -> None:
        self._scenes = list(zip(snapped.scenes, snapped.timeline.spans, strict=True))
        self._number = -1

    def shift(self, _packet: Any, start: float, _duration: float) -> float | None:
        """See downloader.mux.lanes.Gate."""
        self._number += 1
        while self._scenes and self._number >= self._scenes[0][0].last:
            self._scenes.pop(0)
        if not self._scenes:
            return None
        scene, span = self._scenes[0]
        # Pictures shown before the one that the scene begins with need what was cut.
        return span.shift if self._number >= scene.first and (not scene.first or start >= scene.start) else None


class SoundGate:
    """Lets frames of sound pass whose middle is kept; frames follow each other without a gap across a seam."""

    def __init__(self, timeline: Timeline) -> None:
        self._spans = list(timeline.spans)
        self._shift: float | None = None
        self._end = 0.0

    def shift(self, _packet: Any, start: float, duration: float) -> float | None:
        """See downloader.mux.lanes.Gate."""
        middle = start + duration / 2
        while self._spans and middle >= self._spans[0].end:
            self._spans.pop(0)
            self._shift = None
        if not self._spans:
            return None
        span = self._spans[0]
        if self._shift is None:
            if span.start > 0 and middle < self._end + span.shift:
                return None
            self._shift = start - self._end if span.at > 0 or span.start > 0 else 0.0
        self._end = start - self._shift + duration
        return self._shift
