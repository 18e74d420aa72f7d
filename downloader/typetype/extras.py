"""What goes along with picture and sound: subtitles, chapters, SponsorBlock cuts, a date for the tags."""

import re
from collections.abc import Iterable

from downloader.handoff import Chapter, Cut
from downloader.job import Options
from downloader.typetype.offer import Offer, Subtitle

MAX_SUBTITLES = 32
_MAX_CHAPTERS = 1_000
_DEFAULT_CATEGORIES = frozenset({"sponsor"})
_SHORTEST_REST = 1.0  # seconds that must be left when all cuts are made


def choose_subtitles(offer: Offer, options: Options, warnings: list[str]) -> tuple[Subtitle, ...]:
    """The subtitles wanted: for each language the nearest, a written one before a generated one.

    Without languages all written ones, and, when asked for, generated ones of the languages that have none.
    """
    if not options.subtitles.enabled:
        return ()
    allowed = [item for item in offer.subtitles if options.subtitles.auto or not item.auto_generated]
    ordered = sorted(allowed, key=lambda item: (item.auto_generated, item.language.lower(), item.url))
    wanted = options.subtitles.languages
    found: dict[str, Subtitle] = {}
    for language in wanted or [item.language for item in ordered]:
        nearest = _nearest(language, ordered)
        if nearest is None:
            warnings.append(_missing(language, offer))
        else:
            found.setdefault(nearest.url, nearest)
    if not wanted and not found:
        warnings.append("The source offers no subtitles." if not offer.subtitles else _only_generated("Subtitles"))
    if len(found) > MAX_SUBTITLES:
        warnings.append(f"Only the first {MAX_SUBTITLES} of {len(found)} subtitles were taken.")
    return tuple(found.values())[:MAX_SUBTITLES]


def _nearest(language: str, ordered: Iterable[Subtitle]) -> Subtitle | None:
    """The nearest: the same tag, a more precise one (``en`` → ``en-US``), or its base (``en-US`` → ``en``)."""
    wanted = language.lower().replace("_", "-")
    ranked = [
        (item.auto_generated, distance, number, item)
        for number, item in enumerate(ordered)
        if (distance := _distance(wanted, item.language.lower())) is not None
    ]
    return min(ranked, key=lambda entry: entry[:3])[3] if ranked else None


def _distance(wanted: str, offered: str) -> int | None:
    """0 for equal tags, then by the subtags that differ (RFC 4647 in both directions); None when they do not match."""
    if wanted == offered:
        return 0
    if offered.startswith(f"{wanted}-"):
        return offered.count("-") - wanted.count("-")
    if wanted.startswith(f"{offered}-"):
        return 10 + wanted.count("-") - offered.count("-")
    return None


def _missing(language: str, offer: Offer) -> str:
    name = repr(language[:35])
    if _nearest(language, offer.subtitles):
        return _only_generated(f"Subtitles in {name}")
    return f"Subtitles in {name} are not offered."


def _only_generated(what: str) -> str:
    return f"{what} are offered only as generated ones; set subtitles.auto to take them."


def chapters(offer: Offer) -> tuple[Chapter, ...]:
    """The source's chapters in order, one at a time, inside its duration."""
    end = offer.duration or float("inf")
    found = {item.start: item.title for item in offer.chapters if item.start < end}
    ordered = sorted(found.items())[:_MAX_CHAPTERS]
    return tuple(Chapter(title or f"Chapter {number}", start) for number, (start, title) in enumerate(ordered, 1))


def cuts(offer: Offer, options: Options, warnings: list[str]) -> tuple[Cut, ...]:
    """The SponsorBlock segments to leave out: those of the chosen categories whose action is skip, joined and in order.

    Without categories that is ``sponsor`` alone.
    """
    if not options.sponsor_block:
        return ()
    wanted = {name.strip().lower() for name in options.sponsor_block_categories} or _DEFAULT_CATEGORIES
    end = offer.duration or float("inf")
    segments = sorted(
        (item.start, min(item.end, end), item.category)
        for item in offer.sponsored
        if item.category in wanted and item.action == "skip" and item.start < end
    )
    joined: list[Cut] = []
    for start, stop, category in segments:
        if joined and start <= joined[-1].end:
            last = joined.pop()
            joined.append(Cut(last.start, max(last.end, stop), last.category))
        else:
            joined.append(Cut(start, stop, category))
    if not joined:
        warnings.append("SponsorBlock has nothing to cut out of this source.")
    elif offer.duration and offer.duration - sum(cut.end - cut.start for cut in joined) < _SHORTEST_REST:
        warnings.append("SponsorBlock's segments cover the whole source; nothing was cut.")
        return ()
    return tuple(joined)


def date(upload_date: str) -> str:
    """``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD`` at the beginning of what the server says, else empty."""
    found = re.match(r"\d{4}(-\d{2}(-\d{2})?)?(?!\d)", upload_date)
    return found[0] if found else ""
