"""SABR: TypeType-Server streams the chosen tracks itself, in time slices that are asked for side by side."""

from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import urlencode

from downloader.errors import SourceInvalid
from downloader.fetch.failures import RangeRefused, status_error
from downloader.fetch.frames import FrameReader
from downloader.fetch.http import Head
from downloader.fetch.identity import Identity
from downloader.fetch.limits import MIB
from downloader.fetch.pieces import Sink
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


def parts_for(size: int, *, video: bool) -> int:
    """How many parts a stream of about ``size`` bytes is asked for in."""
    table = _VIDEO_PARTS if video else _AUDIO_PARTS
    return next((parts for least, parts in table if size >= least), 1)


class SabrTracks(Sequence):
    """The tracks of one download URL: every part carries its slice of all of them."""

    parallel = _PARALLEL

    def __init__(self, tracks: Iterable[Track], context: Context) -> None:
        super().__init__(tracks, context)
        if any(track.itag is None for track in self.tracks):
            raise SourceInvalid("A track of TypeType-Server's stream has no itag.")
        self._video = next((track for track in self.tracks if track.kind != "audio"), None)
        self._audio = next((track for track in self.tracks if track.kind == "audio"), None)
        lead = self._video or self.tracks[0]
        self.count = parts_for(lead.size or 0, video=self._video is not None)
        self._request: Request = context.router.request(self.tracks[0].url)
        identity = Identity(etag=f'"sabr-{self.count}-{self._query(0)}"')
        files = [file.file for file in self.files.values()]
        if any(file.identity != identity or file.pieces[0] < 1 for file in files):
            for piece_file in self.files.values():
                if piece_file.file.done.total:
                    piece_file.renew()
        for file in files:
            file.pin(identity)

    def request_piece(self, number: int, sinks: dict[str, Sink]) -> Piece:
        """See Sequence."""
        request = replace(self._request, url=f"{self._request.url}?{self._query(number)}")
        outputs = {track.itag: sinks[track.key] for track in self.tracks if track.itag is not None}
        body = _Part(FrameReader(outputs, first=number == 0))
        return Piece(self, number=number, request=request, headers=(), patience=self.context.limits.sabr, body=body)

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

    def __init__(self, reader: FrameReader) -> None:
        self._reader = reader
        self.feed = reader.feed

    def head(self, head: Head) -> None:
        if head.status != _OK:
            raise status_error("TypeType-Server", head, utc_now())
        if head.media_type != CONTENT_TYPE:
            raise RangeRefused("TypeType-Server answered with something else than a stream.")

    def finish(self) -> None:
        if not self._reader.complete:
            raise RangeRefused("TypeType-Server's stream is broken: it ended before its end was said.")
