"""An HLS programme as a whole: one track, or picture and sound side by side where its playlist keeps them apart."""

from dataclasses import replace

from msgspec import structs

from downloader.errors import DownloadError
from downloader.fetch.hls import HlsTrack
from downloader.fetch.task import Context
from downloader.fetch.transfer import Exchange
from downloader.handoff import FetchedTrack, Track


class HlsProgramme:
    """See Download. Sound that comes apart becomes a track of its own, called ``<key>-sound``."""

    def __init__(self, track: Track, context: Context) -> None:
        self.optional = track.optional
        self.error: DownloadError | None = None
        self.trouble: DownloadError | None = None
        self.finished = False
        self._context = context
        self._parts = [HlsTrack(track, context)]

    @property
    def done(self) -> int:
        """See Download."""
        return sum(part.done for part in self._parts)

    @property
    def total(self) -> int:
        """See Download."""
        totals = [part.total for part in self._parts]
        return sum(totals) if all(totals) else 0

    @property
    def moved(self) -> int:
        """See Download."""
        return sum(part.moved for part in self._parts)

    def next(self, now: float) -> Exchange | None:
        """See Download."""
        exchanges = (part.next(now) for part in self._parts if part.error is None)
        return next((exchange for exchange in exchanges if exchange is not None), None)

    def tick(self, now: float) -> None:
        """See Download."""
        for part in self._parts:
            if part.error is None and not part.finished:
                part.tick(now)
        if self._parts[0].apart and len(self._parts) == 1:
            self._parts.append(self._sound(self._parts[0].tracks[0]))
        self.error = next((part.error for part in self._parts if part.error is not None), None)
        self.trouble = next((part.trouble for part in self._parts if part.trouble is not None), None)
        self.finished = all(part.finished for part in self._parts)

    def _sound(self, track: Track) -> HlsTrack:
        """The track of the sound that comes apart; it is found by way of the same playlist, also a renewed one."""
        refresh = self._context.refresh
        context = replace(self._context, refresh=None if refresh is None else lambda _sound: refresh(track))
        return HlsTrack(structs.replace(track, key=f"{track.key}-sound", kind="audio", size=None), context)

    def fetched(self) -> tuple[FetchedTrack, ...]:
        """See Download."""
        return tuple(found for part in self._parts for found in part.fetched())

    def close(self) -> None:
        """See Download: where one part failed for good, the other is of no use either."""
        for part in self._parts:
            part.error = part.error or self.error
            part.close()
