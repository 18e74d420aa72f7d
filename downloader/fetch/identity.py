"""Which object a track's bytes belong to: pinned by the first response, compared with every later one."""

import msgspec

from downloader.fetch.http import Head

_LONGEST = 1024  # characters


class Identity(msgspec.Struct, frozen=True):
    """Size in bytes (None: not said yet) and validators as the host gave them."""

    size: int | None = None
    etag: str | None = None
    last_modified: str | None = None

    @property
    def strong(self) -> str | None:
        """The entity tag when it may stand in If-Range (RFC 9110, 13.1.5): strong ones only."""
        return self.etag if self.etag and self.etag.startswith('"') else None

    @property
    def verifiable(self) -> bool:
        """Whether equal validators prove equal bytes: a weak tag does not (RFC 9110, 8.8.1), and hides the time."""
        return self.strong is not None or (self.etag is None and self.last_modified is not None)

    def conflict(self, other: "Identity", *, vouched: bool = False) -> str | None:
        """Why ``other`` (of a later response) is another object, in words; None when it may be the same.

        ``vouched``: the host itself compared our strong validator (If-Range, 206), so a missing one does no harm.
        """
        if self.size is not None and other.size is not None and self.size != other.size:
            return f"its size went from {self.size} to {other.size} bytes"
        if self.etag is not None:
            if other.etag is not None:
                return None if other.etag == self.etag else "its entity tag changed"
            return None if vouched else "its entity tag went missing"
        if self.last_modified is not None and other.last_modified != self.last_modified:
            return "its modification time changed"
        return None


def identity_of(head: Head, size: int | None) -> Identity:
    """The identity that a response states; ``size`` is the whole object's, from Content-Range or Content-Length."""
    return Identity(size, _validator(head.get("etag")), _validator(head.get("last-modified")))


def _validator(value: str | None) -> str | None:
    """A validator as the host gave it; None where it could be neither sent back nor kept in a journal."""
    return value if value and len(value) <= _LONGEST and value.isascii() and value.isprintable() else None
