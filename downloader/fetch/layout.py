"""Where the frames of one track of TypeType-Server's stream belong in its file."""

import hashlib
from collections.abc import Callable

from downloader.errors import UpstreamChanged
from downloader.fetch.index import segment_edges
from downloader.fetch.limits import MIB
from downloader.fetch.pieces import Misplaced, Sink

_SECTION = 4 * MIB  # bytes of an initialization that are read for its index; a day of video takes a tenth of it


class Layout:
    """A track's initialization, which is the same in every part, and what its index says.

    ``digest`` names the initialization, empty until one has come. ``edges`` are those of its segments, None where they
    are not known; ``apart``: not to be used, because the media contradicted them.
    """

    def __init__(self, most: int, *, digest: str = "", apart: bool = False) -> None:
        self._most = most
        self.digest = digest
        self.apart = apart
        self.edges: tuple[int, ...] | None = None

    def learn(self, section: bytes, digest: str) -> None:
        """A part's initialization; ``section`` is empty when it was too long to be kept."""
        if self.digest and digest != self.digest:
            raise UpstreamChanged("TypeType-Server's stream changed while it was read.")
        self.digest = digest
        if self.edges is None and not self.apart:
            edges = segment_edges(section)
            self.edges = edges if edges is not None and edges[-1] <= self._most else None

    def place(self, sequence: int, length: int) -> int | None:
        """Where the media frame of that number (from 1) begins, or None when nobody knows; raises Misplaced."""
        edges = self.edges
        if edges is None:
            return None
        last = len(edges) - 1
        if not 1 <= sequence <= last:
            raise Misplaced("The media's index does not know all of the media.")
        start = edges[sequence - 1]
        # What comes behind the last segment belongs to its frame, but to no segment.
        if sequence < last and start + length != edges[sequence]:
            raise Misplaced("The media's index contradicts the media.")
        return start


class Slice:
    """See Output: a track's frames of one part, on their way to ``sink``.

    Only the first part's initialization is kept; those of the others are compared with it. ``learned`` is called when
    an initialization is whole.
    """

    def __init__(self, layout: Layout, sink: Sink, *, first: bool, learned: Callable[[], None]) -> None:
        self._layout = layout
        self._sink = sink
        self._first = first
        self._learned = learned
        self._digest = hashlib.sha256()
        self._section = bytearray()
        self._keep = self._sealed = False

    def initialization(self, length: int) -> None:
        """See Output."""
        self._keep = length <= _SECTION

    def media(self, sequence: int, length: int) -> None:
        """See Output."""
        self.seal()
        place = self._layout.place(sequence, length)
        if place is None:
            return
        if not self._sink.size:
            self._sink.place(place)
        elif place != self._sink.base + self._sink.size:
            raise Misplaced("The media's index contradicts the media.")

    def write(self, data: memoryview) -> None:
        """See Output."""
        if self._sealed:
            self._sink.write(data)
            return
        self._digest.update(data)
        if self._keep:
            self._section += data
        if self._first:
            self._sink.write(data)

    def seal(self) -> None:
        """The initialization is over."""
        if not self._sealed:
            self._sealed = True
            self._layout.learn(bytes(self._section), self._digest.hexdigest())
            self._learned()
