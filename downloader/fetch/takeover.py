"""Taking over from the slowest: whom an idle connection helps, and where it begins. Pure: no I/O, no clock."""

from collections.abc import Collection
from dataclasses import dataclass
from statistics import median

from downloader.fetch.chunk import Chunk
from downloader.fetch.limits import Limits

_SAMPLE = 0.25  # seconds over which a pace is measured
_SOON = 3  # waits for a head: what ends sooner is not worth a request, which brings nothing for one of them
_SOONEST, _LATEST = 0.05, 2.0  # seconds, the least and the most of that
_WARM_UP = 8  # round trips that TCP takes from ten segments to a few thousand
_YOUNG = 0.2  # seconds: until then a connection passes for a typical one


@dataclass(frozen=True, slots=True)
class Takeover:
    """The victim, and the first byte that the thief asks for."""

    victim: Chunk
    start: int


def sample(chunks: Collection[Chunk], now: float) -> None:
    """Renew each chunk's pace (bytes per second), half of it from the last quarter second or more."""
    for chunk in chunks:
        elapsed = now - chunk.sampled_at
        if chunk.headed and elapsed >= _SAMPLE:
            rate = (chunk.at - chunk.sampled) / elapsed
            chunk.pace = rate if chunk.pace is None else (chunk.pace + rate) / 2
            chunk.sampled, chunk.sampled_at = chunk.at, now


def typical_pace(chunks: Collection[Chunk]) -> float | None:
    """The median pace of the chunks, or None when none is known."""
    paces = [chunk.pace for chunk in chunks if chunk.pace is not None]
    return median(paces) if paces else None


def typical_wait(chunks: Collection[Chunk]) -> float | None:
    """The median of the seconds that the chunks waited for their heads, or None when none has come."""
    waits = [chunk.waited for chunk in chunks if chunk.headed]
    return median(waits) if waits else None


def choose(
    chunks: Collection[Chunk], now: float, typical: float | None, wait: float, limits: Limits
) -> Takeover | None:
    """Whom to help: the chunk that would end last, cut so that both ends meet; None when all end soon anyway.

    ``typical`` is the pace (bytes per second) that a new connection is expected to have, ``wait`` the seconds until
    its first byte.
    """
    slowest: Chunk | None = None
    longest = min(max(_SOON * wait, _SOONEST), _LATEST)
    for chunk in chunks:
        if chunk.thief is None and chunk.owns and not chunk.unbounded:
            pace = _expected(chunk, now, typical)
            left = (chunk.end - chunk.at) / max(pace, 1.0) if pace is not None else 0.0
            if left > longest:
                slowest, longest = chunk, left
    if slowest is None:
        return None
    rest = slowest.end - slowest.at
    pace = _expected(slowest, now, typical) or 0.0
    share = pace / (pace + (typical or max(pace, 1.0)))
    kept = int(rest * share)
    if kept < limits.takeover_min or rest - kept < limits.takeover_min:
        kept = 0 if share < 1 else kept
    return Takeover(slowest, slowest.at + kept)


def crawling(chunks: Collection[Chunk], now: float, limits: Limits) -> list[Chunk]:
    """Chunks that are far slower than their siblings and would stay so for a while.

    A connection may wait as long as its siblings for its head, and take some round trips to reach its speed. Whoever
    takes a range from a crawling one is given twice the time, so a host that answers in bursts is not asked for ever.
    """
    found: list[Chunk] = []
    for chunk in chunks:
        siblings = [other for other in chunks if other is not chunk and other.pace is not None]
        if not siblings or not chunk.owns or chunk.thief is not None:
            continue
        waited = chunk.waited if chunk.headed else median(other.waited for other in siblings)
        if now - chunk.started < limits.crawl_after * (1 << chunk.crawls) + _WARM_UP * waited:
            continue
        pace = _pace(chunk, now)
        if pace < median(other.pace or 0.0 for other in siblings) * limits.crawl_ratio and chunk.end - chunk.at > pace:
            found.append(chunk)
    return found


def win(thief: Chunk) -> None:
    """The thief's first byte is here: its victim ends where it stands, or where the thief began."""
    victim, thief.victim = thief.victim, None
    if victim is None:
        return
    thief.owns, victim.thief = True, None
    cut = max(thief.start, victim.at)
    thief.end = min(thief.end, victim.end)
    victim.end = cut
    thief.skip += cut - thief.at
    thief.at = thief.first = cut


def inherit(victim: Chunk) -> None:
    """The victim failed while a thief was on its way: the thief owns the rest from now on."""
    thief, victim.thief = victim.thief, None
    if thief is None:
        return
    at = max(thief.at, victim.at)
    thief.owns, thief.victim = True, None
    thief.skip, thief.at, thief.first = at - thief.start, at, at
    victim.end = max(thief.start, victim.at)


def _expected(chunk: Chunk, now: float, typical: float | None) -> float | None:
    """How fast the chunk is, or as one that has just begun will be; None when nothing is known yet."""
    young = chunk.pace is None and now - chunk.started < _YOUNG
    return typical if young else _pace(chunk, now)


def _pace(chunk: Chunk, now: float) -> float:
    if chunk.pace is not None:
        return chunk.pace
    return (chunk.at - chunk.start) / max(now - chunk.started, 1e-3)
