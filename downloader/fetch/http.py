"""What HTTP's header fields say, parsed strictly: wrong is None or an error, never a guess (RFC 9110)."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,18})", re.ASCII)
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})")
REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Head:
    """A response's status and fields: names in lower case, each with all its values in order."""

    status: int
    fields: dict[str, tuple[str, ...]]

    def get(self, name: str) -> str | None:
        """The field's only value; equal repetitions count as one; None when missing or contradictory."""
        values = set(self.fields.get(name, ()))
        return values.pop() if len(values) == 1 else None

    @property
    def length(self) -> int | None:
        """Content-Length in bytes; None when missing, contradictory or rubbish."""
        value = self.get("content-length")
        return int(value) if value is not None and _LENGTH.fullmatch(value) else None

    @property
    def media_type(self) -> str:
        """Content-Type without its parameters, in lower case; empty when missing."""
        return (self.get("content-type") or "").partition(";")[0].strip().lower()

    @property
    def encoded(self) -> bool:
        """Whether the body is coded although identity was asked for."""
        return (self.get("content-encoding") or "identity").strip().lower() not in ("", "identity")


@dataclass(frozen=True, slots=True)
class ContentRange:
    """Content-Range of a 206: first and last byte (both included), and the whole's size where it is said."""

    first: int
    last: int
    total: int | None


def parse_head(lines: list[bytes]) -> Head:
    """The head from raw lines, status line first. Bytes that are not ASCII are kept as Latin-1."""
    match = _STATUS.match(lines[0]) if lines else None
    fields: dict[str, tuple[str, ...]] = {}
    for line in lines[1:]:
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            key = name.strip().lower()
            fields[key] = (*fields.get(key, ()), value.strip())
    return Head(int(match[1]) if match else 0, fields)


def content_range(value: str | None) -> ContentRange | None:
    """Content-Range as ``bytes a-b/total``; None for every other form, and where a > b or b lies past the total."""
    match = _CONTENT_RANGE.fullmatch(value.strip()) if value else None
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if first > last or (total is not None and last >= total):
        return None
    return ContentRange(first, last, total)


def unsatisfied_size(value: str | None) -> int | None:
    """The size that a 416 names (``bytes */size``), or None."""
    match = _UNSATISFIED.fullmatch(value.strip()) if value else None
    return int(match[1]) if match else None


def retry_after(value: str | None, now: datetime) -> float | None:
    """Retry-After in seconds from ``now``, of either form (RFC 9110, 10.2.3); never negative; None when unreadable."""
    if not value:
        return None
    if re.fullmatch(r"\d{1,12}", value.strip(), re.ASCII):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    date = date.replace(tzinfo=UTC) if date.tzinfo is None else date
    return max(0.0, (date - now).total_seconds())
