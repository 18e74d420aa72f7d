"""HLS: a finished playlist's segments side by side, decrypted as they come, in order in one file."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import accumulate

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from msgspec import structs

from downloader.errors import DownloadError, MediaTooLarge, SourceForbidden, SourceGone, SourceInvalid, UpstreamChanged
from downloader.fetch import answers, playlist
from downloader.fetch.document import Document
from downloader.fetch.failures import RangeRefused
from downloader.fetch.http import Head
from downloader.fetch.identity import Identity, identity_of
from downloader.fetch.links import Links
from downloader.fetch.pieces import Sink
from downloader.fetch.route import Request
from downloader.fetch.sequence import Piece, Sequence
from downloader.fetch.task import Context
from downloader.fetch.transfer import Exchange, utc_now
from downloader.handoff import Track

_BLOCK = 16  # bytes of AES
_MASTERS = 3  # how deep master playlists may be nested
_DOCUMENT = -1  # the number of a playlist or key, where failures are counted by pieces
_SKIPS = 8  # how often a host may send a resource from its beginning for a part of it, where nothing else is left
_AHEAD = 4  # pieces per connection that may wait for an earlier one


class HlsTrack(Sequence):
    """First the playlist (through masters, by height), then keys and segments."""

    def __init__(self, track: Track, context: Context) -> None:
        self._links = Links(track, context.router, context.refresh, context.resolvers)
        super().__init__([track], context)
        self.apart = False
        """Whether the programme's sound is to be had by a track of its own."""
        self.parallel = context.workers
        self.window = context.workers * _AHEAD
        self._segments: tuple[playlist.Segment, ...] = ()
        self._places: tuple[int, ...] = ()
        self._seconds: list[float] = [0.0]  # before each piece, and of the whole
        self._keys: dict[str, bytes] = {}
        self._document: Document | None = None
        self._resources: dict[str, Identity] = {}  # of those that segments are parts of, by URL
        self._joined = False
        self._ignored = self._restarts = 0
        self._begin()

    @property
    def total(self) -> int:
        """See Download: exact where the playlist says how long each piece is."""
        known = self._places[-1] if self.count and len(self._places) > self.count else 0
        return max(known, self.done) if known else super().total

    def weight_before(self, number: int) -> float:
        """See Sequence: seconds, or pieces where the playlist says nothing of them."""
        return self._seconds[number] if self._seconds[-1] else super().weight_before(number)

    def next(self, now: float) -> Exchange | None:
        """See Download."""
        try:
            return self._next(now)
        except DownloadError as error:  # what the playlist names may not be asked for
            self.give_up(error)
            return None

    def _next(self, now: float) -> Exchange | None:
        if self._document is not None or self._links.waiting or self.finished or now < self._paused_until:
            return None
        if not self._segments:
            return self._read(self._playlist, self.context.limits.playlist_bytes, self._playlist_read)
        missing = self._missing_key()
        if missing is not None:
            return self._read(self._named(missing), self.context.limits.key_bytes, partial(self._key_read, missing))
        return super().next(now)

    def place(self, number: int) -> int | None:
        """See Sequence."""
        return self._places[number] if number < len(self._places) else None

    def request_piece(self, number: int, sinks: dict[str, Sink]) -> Piece:
        """See Sequence."""
        segment = self._segments[number]
        sink = sinks[self.tracks[0].key]
        output = sink if segment.key_url is None else _Decrypted(sink, self._keys[segment.key_url], segment.iv)
        request = replace(self._named(segment.url), mode="header")
        headers: tuple[str, ...] = ()
        if segment.span is not None:
            headers = (f"Range: bytes={segment.span[0]}-{segment.span[1] - 1}",)
        body = _Body(self, request.host, segment, output)
        return Piece(
            self, number=number, request=request, headers=headers, patience=self.context.limits.media, body=body
        )

    def failed(self, number: int, error: DownloadError, now: float) -> None:
        """See Sequence; an expired link is resolved again, and all begins anew where ranges do not lead on."""
        limits = self.context.limits
        if isinstance(error, SourceForbidden | SourceGone):
            self._expired(error)
        elif isinstance(error, UpstreamChanged) and self._restarts < limits.restarts:
            self._restarts += 1
            self._joined = self._joined or self._restarts == limits.restarts
            self.renew()
            self._begin()
            self._paused_until = now + self.context.backoff(self._restarts)
        elif isinstance(error, RangesIgnored) and self._ignored >= limits.faults:
            if self._joined:
                raise error
            self._joined = True
            self._begin()
        else:
            super().failed(number, error, now)

    def part_of(self, url: str, host: str, found: Identity) -> None:
        """A part of ``url`` is coming, of the object ``found``; raises UpstreamChanged when earlier ones were not."""
        pinned = self._resources.setdefault(url, found)
        answers.check_identity(host, pinned, found, vouched=False)
        if url == self._lead:
            file = self.files[self.tracks[0].key].file
            file.pin(structs.replace(pinned, etag=f"{_name(file.identity)}:{pinned.etag or ''}"))

    def ignored(self, host: str) -> None:
        """A host sends a resource from its beginning for a later part of it; raises RangesIgnored to refuse it."""
        self._ignored += 1
        if not self._joined or self._ignored > self.context.limits.faults + _SKIPS:
            raise RangesIgnored(f"The media host {host} sent the whole media instead of a part of it.")

    def look_after(self, now: float) -> None:
        """See Sequence."""
        if self._links.settle() is not None:
            self._begin()
        super().look_after(now)

    def close(self) -> None:
        """See Download."""
        self._links.cancel()
        super().close()

    def abort(self) -> None:
        """See Sequence."""
        if self._document is not None:
            self.context.wire.abort(self._document)
            self._document = None
        super().abort()

    def _begin(self) -> None:
        self.abort()
        self._playlist = self._source = self._links.request
        self._segments, self.count, self._places, self._seconds = (), 0, (), [0.0]
        self._keys.clear()
        self._resources.clear()
        self._lead = ""
        self._masters = 0
        self._paused_until = 0.0

    def _named(self, url: str) -> Request:
        """The request for what the playlist names: it may no more than whoever delivered the playlist."""
        return self.context.router.request(url, came_from=self._source)

    def _expired(self, error: DownloadError) -> None:
        self._links.replace(error, expired=True)

    def _missing_key(self) -> str | None:
        """The first key that a piece in the window needs."""
        head = min(file.head for file in self.files.values())
        for segment in self._segments[head : head + (self.window or 0)]:
            if segment.key_url is not None and segment.key_url not in self._keys:
                return segment.key_url
        return None

    def _read(self, request: Request, most: int, answer: Callable[[Document], None]) -> Document:
        self._document = Document(
            replace(request, mode="header"), most, self.context.limits.media, self._answered(answer)
        )
        return self._document

    def _answered(self, answer: Callable[[Document], None]) -> Callable[[Document, DownloadError | None], None]:
        def over(document: Document, error: DownloadError | None) -> None:
            self._document = None
            try:
                if error is None:
                    answer(document)
                    self._failures.pop(_DOCUMENT, None)
                else:
                    self.trouble = error
                    self._again(error)
            except DownloadError as final:
                self.give_up(final)

        return over

    def _again(self, error: DownloadError) -> None:
        if isinstance(error, SourceForbidden | SourceGone):
            self._expired(error)
            return
        super().failed(_DOCUMENT, error, time.monotonic())
        self._paused_until = max(self._paused_until, self._not_before.pop(_DOCUMENT))

    def _playlist_read(self, document: Document) -> None:
        self._source = document.source
        found = playlist.read(document.data.decode("utf-8", "replace"), self._source.url)
        if isinstance(found, playlist.Master):
            self._masters += 1
            if self._masters > _MASTERS:
                raise SourceInvalid("The media's playlists lead from one to the next without end.")
            track = self.tracks[0]
            chosen = found.choose(track.height)
            sound_only = track.kind == "audio" or track.audio_only
            self.apart = self.apart or bool(chosen.sound and not sound_only)
            url = chosen.sound if chosen.sound and sound_only else chosen.url
            self._playlist = self._named(url)
            return
        self._take(found.joined if self._joined else found)

    def _take(self, found: playlist.Playlist) -> None:
        """Go on with what there is of ``found``, or begin anew where that is of another playlist or resource."""
        places = found.places
        if places[-1] > self.context.max_bytes:
            raise MediaTooLarge("The media is larger than this service takes.")
        file, name = self.files[self.tracks[0].key], f"hls-{found.digest}"
        if _name(file.file.identity) != name:
            if not file.empty:
                self.renew()
            file.file.pin(Identity(etag=name))
        self._lead = next((segment.url for segment in found.segments if segment.span is not None), "")
        pinned = file.file.identity
        _, known, etag = (pinned.etag or "").partition(":")
        if known:
            self._resources[self._lead] = Identity(pinned.size, etag or None, pinned.last_modified)
        self._segments, self.count, self._places = found.segments, len(found.segments), places
        self._seconds = list(accumulate((segment.seconds for segment in found.segments), initial=0.0))

    def _key_read(self, url: str, document: Document) -> None:
        if len(document.data) != _BLOCK:
            raise SourceInvalid("The media's key is none.")
        self._keys[url] = document.data


class RangesIgnored(RangeRefused):
    """The host sends a resource from its beginning, whatever part of it is asked for."""


def _name(identity: Identity) -> str:
    """The playlist that is pinned; after it and a colon stands the entity tag of the resource that parts are of."""
    return (identity.etag or "").partition(":")[0]


class _Decrypted:
    """A sink for AES-128 in CBC mode with PKCS #7 padding: the last block is held back until the end."""

    def __init__(self, sink: Sink, key: bytes, iv: bytes) -> None:
        self._sink = sink
        self._decryptor = Cipher(AES(key), CBC(iv)).decryptor()
        self._held = b""

    def write(self, data: bytes | memoryview) -> None:
        plain = self._held + self._decryptor.update(bytes(data))
        self._held = plain[-_BLOCK:]
        self._sink.write(plain[:-_BLOCK])

    def finish(self) -> None:
        try:
            plain = self._held + self._decryptor.finalize()
        except ValueError:
            raise RangeRefused("An encrypted segment is not whole.") from None
        pad = plain[-1] if plain else 0
        if not 1 <= pad <= _BLOCK or plain[-pad:] != bytes([pad]) * pad:
            raise RangeRefused("A segment cannot be decrypted with its key.")
        self._sink.write(plain[:-pad])


class _Body:
    """See PieceBody: a segment, whole or a range of its resource, also where the host ignores ranges."""

    def __init__(self, owner: HlsTrack, host: str, segment: playlist.Segment, output: Sink | _Decrypted) -> None:
        self._owner = owner
        self._host = host
        self._segment = segment
        self._output = output
        self._skip = 0
        self._left: int | None = None if segment.span is None else segment.span[1] - segment.span[0]
        self._got = 0

    def head(self, head: Head) -> None:
        answers.check_status(self._host, head, utc_now())
        if head.status == answers.UNSATISFIABLE:
            raise RangeRefused(f"The media host {self._host} refuses a segment's range.")
        answers.check_content(self._host, head, text=False)
        span, size = self._segment.span, head.length
        if head.status == answers.PARTIAL:
            found = answers.check_partial(self._host, head, span[0] if span else 0)
            if (span is None and found.last + 1 != found.total) or (span is not None and found.last + 1 != span[1]):
                raise RangeRefused(f"The media host {self._host} sent another part of the media than was asked for.")
            size = found.total
        if span is None:
            return
        if head.status == answers.OK and span[0]:
            self._owner.ignored(self._host)
            self._skip = span[0]
        self._owner.part_of(self._segment.url, self._host, identity_of(head, size))

    def feed(self, data: bytes) -> int | None:
        dropped = min(self._skip, len(data))
        self._skip -= dropped
        wanted = data[dropped:] if self._left is None else data[dropped : dropped + self._left]
        self._got += len(wanted)
        self._output.write(wanted)
        if self._left is None:
            return None
        self._left -= len(wanted)
        return -1 if self._left == 0 and dropped + len(wanted) < len(data) else None

    def finish(self) -> None:
        if self._left or not self._got:
            raise RangeRefused(f"The media host {self._host} sent a segment that is not whole.")
        if isinstance(self._output, _Decrypted):
            self._output.finish()
