"""SABR: TypeType-Server streams the chosen tracks itself, in time slices that are asked for side by side."""

from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import urlencode

from downloader.errors import DownloadError, SourceInvalid, UpstreamChanged
from downloader.fetch.failures import RangeRefused, status_error
from downloader.fetch.frames import FrameReader
from downloader.fetch.http import Head
from downloader.fetch.identity import Identity
from downloader.fetch.layout import Layout, Slice
from downloader.fetch.limits import MIB
from downloader.fetch.pieces import Misplaced, PieceFile, Sink
from downloader.fetch.route import Request
from downloader.fetch.sequence import Piece, Sequence
from downloader.fetch.task import Context
from downloader.fetch.transfer import utc_now
from downloader.handoff import Track

CONTENT_TYPE = "application/vnd.typetype.sabr-download"
_PARALLEL = 3
_VIDEO_PARTS = ((256 * MIB, 12), (128 * MIB, 6), (16 * MIB, 4), (4 * MIB, 2))
_AUDIO_PARTS = ((16 * MIB, 4), (4 * MIB, 2))
_OK = 200
_APART = "-apart"


def parts_for(size: int, *, video: bool) -> int:
    """How many parts a stream of about ``size`` bytes is asked for in."""
    table = _VIDEO_PARTS if video else _AUDIO_PARTS
    return next((parts for least, parts in table if size >= least), 1)


class SabrTracks(Sequence):
    """The tracks of one download URL: every part carries its slice of all of them."""

    parallel = _PARALLEL

    def __init__(self, tracks: Iterable[Track], context: Context) -> None:
        wanted = tuple(tracks)
        if any(track.itag is None for track in wanted):
            raise SourceInvalid("A track of TypeType-Server's stream has no itag.")
        self._request: Request = context.router.request(wanted[0].url)
        super().__init__(wanted, context)
        self._video = next((track for track in wanted if track.kind != "audio"), None)
        self._audio = next((track for track in wanted if track.kind == "audio"), None)
        lead = self._video or wanted[0]
        self.count = parts_for(lead.size or 0, video=self._video is not None)
        self._restarts = 0
        self._layouts = {key: self._layout(file) for key, file in self.files.items()}

    @property
    def total(self) -> int:
        """See Download: as the indexes say, where there are any."""
        edges = [layout.edges for layout in self._layouts.values()]
        known = sum(found[-1] for found in edges if found is not None)
        return max(known, self.done) if all(edges) else super().total

    def request_piece(self, number: int, sinks: dict[str, Sink]) -> Piece:
        """See Sequence."""
        request = replace(self._request, url=f"{self._request.url}?{self._query(number)}")
        body = _Part(
            {track.itag: self._slice(track.key, number, sinks) for track in self.tracks if track.itag is not None}
        )
        return Piece(self, number=number, request=request, headers=(), patience=self.context.limits.sabr, body=body)

    def failed(self, number: int, error: DownloadError, now: float) -> None:
        """See Sequence; where an index is wrong, all begins anew without it, and so it does when the tracks changed."""
        if isinstance(error, Misplaced) and not all(layout.apart for layout in self._layouts.values()):
            for layout in self._layouts.values():
                layout.apart = True
            self.renew()
        elif isinstance(error, UpstreamChanged) and self._restarts < self.context.limits.restarts:
            self._restarts += 1
            self.renew()
            self._not_before = dict.fromkeys(range(self.count), now + self.context.backoff(self._restarts))
        else:
            super().failed(number, error, now)

    def renew(self) -> None:
        """See Sequence."""
        super().renew()
        self._layouts = {key: Layout(self.context.max_bytes, apart=old.apart) for key, old in self._layouts.items()}

    def _slice(self, key: str, number: int, sinks: dict[str, Sink]) -> Slice:
        layout, file = self._layouts[key], self.files[key].file

        def learned() -> None:
            file.pin(Identity(etag=f'"{self._name}:{layout.digest}{_APART if layout.apart else ""}"'))

        return Slice(layout, sinks[key], first=number == 0, learned=learned)

    def _layout(self, file: PieceFile) -> Layout:
        """What the journal says of the track's initialization; a file that belongs to other parts begins anew."""
        name, _, digest = (file.file.identity.etag or "").strip('"').rpartition(":")
        if digest and name == self._name:
            return Layout(self.context.max_bytes, digest=digest.removesuffix(_APART), apart=digest.endswith(_APART))
        if not file.empty:
            file.renew()
        return Layout(self.context.max_bytes)

    @property
    def _name(self) -> str:
        return f"sabr-{self.count}-{self._query(0)}"

    def _query(self, number: int) -> str:
        fields = {
            "audioItag": self._audio.itag if self._audio else None,
            "videoItag": self._video.itag if self._video else None,
            "audioTrackId": self._audio.audio_track_id if self._audio else None,
            "audioOnly": "true" if self._video is None else "false",
            "part": number,
            "parts": self.count,
        }
        return urlencode({name: value for name, value in fields.items() if value is not None})


class _Part:
    """See PieceBody."""

    def __init__(self, slices: dict[int, Slice]) -> None:
        self._slices = slices
        self._reader = FrameReader(slices)
        self.feed = self._reader.feed

    def head(self, head: Head) -> None:
        if head.status != _OK:
            raise status_error("TypeType-Server", head, utc_now())
        if head.media_type != CONTENT_TYPE:
            raise RangeRefused("TypeType-Server answered with something else than a stream.")

    def finish(self) -> None:
        if not self._reader.complete:
            raise RangeRefused("TypeType-Server's stream is broken: it ended before its end was said.")
        for found in self._slices.values():
            found.seal()
