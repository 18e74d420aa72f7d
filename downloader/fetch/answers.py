"""Judging the head of an answer: whether it is the bytes that were asked for, of the object that was pinned."""

from datetime import datetime

from downloader.errors import UpstreamChanged
from downloader.fetch.failures import RangeRefused, status_error
from downloader.fetch.http import ContentRange, Head, content_range
from downloader.fetch.identity import Identity

OK, PARTIAL, UNSATISFIABLE = 200, 206, 416

_PAGES = frozenset({"text/html", "application/xhtml+xml", "application/json", "application/problem+json"})


def check_status(host: str, head: Head, now: datetime) -> None:
    """Raise the error for an answer that is neither success nor 416."""
    if head.status not in (OK, PARTIAL, UNSATISFIABLE):
        raise status_error(host, head, now)


def check_content(host: str, head: Head, *, text: bool) -> None:
    """Refuse what is never media: coded bodies, several ranges in one body, pages. ``text`` allows JSON."""
    if head.encoded:
        raise RangeRefused(f"The media host {host} sent the media in a coding that was not asked for.")
    kind = head.media_type
    if kind.startswith("multipart/"):
        raise RangeRefused(f"The media host {host} sent the media in parts that were not asked for.")
    if kind in _PAGES and not (text and kind.endswith("json")):
        raise RangeRefused(f"The media host {host} sent a page instead of the media.")


def check_partial(host: str, head: Head, start: int) -> ContentRange:
    """The range that a 206 says it carries; refused when it is unclear, starts elsewhere, or its length disagrees."""
    found = content_range(head.get("content-range"))
    if found is None:
        raise RangeRefused(f"The media host {host} does not say which part of the media it sent.")
    if found.first != start:
        raise RangeRefused(f"The media host {host} sent another part of the media than was asked for.")
    if head.length is not None and head.length != found.last - found.first + 1:
        raise RangeRefused(f"The media host {host} contradicts itself about the length of what it sent.")
    return found


def check_identity(host: str, pinned: Identity, found: Identity, *, vouched: bool) -> None:
    """Refuse bytes of another object than the one that was pinned."""
    reason = pinned.conflict(found, vouched=vouched)
    if reason is not None:
        raise UpstreamChanged(f"The media at {host} changed while it was read: {reason}.")
