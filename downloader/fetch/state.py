"""What is known about a track that comes by ranges, and what each answer adds to it."""

from dataclasses import replace

from downloader.errors import MediaTooLarge, SourceInvalid, UpstreamChanged
from downloader.fetch import answers
from downloader.fetch.chunk import Chunk
from downloader.fetch.failures import LengthUnknown, RangeRefused
from downloader.fetch.gaps import UNKNOWN, Gap, Gaps
from downloader.fetch.http import Head, unsatisfied_size
from downloader.fetch.identity import Identity, identity_of
from downloader.fetch.links import Links
from downloader.fetch.route import Request
from downloader.fetch.task import Context
from downloader.fetch.trackfile import TrackFile
from downloader.fetch.transfer import utc_now
from downloader.handoff import Track

_OVERLAP = 16 << 10  # bytes before a gap that are compared where no validator vouches for an earlier attempt's bytes


class RangeState:
    """``size`` in bytes, None while unknown; ``pinned`` once a host has said whose bytes these are.

    ``plain``: one connection for the whole, because the host cannot do ranges. ``query``: ranges may be asked for by
    ``&range=``. ``if_range``: the host answers If-Range as it should. ``small``: the limit of a subtitle or an image.
    """

    def __init__(self, track: Track, context: Context) -> None:
        self.track = track
        self.links = Links(track, context.router, context.refresh, context.resolvers)
        self.file = TrackFile(context.folder, track.key, context.epoch, context.executor)
        limits = context.limits
        self.small = {"subtitle": limits.subtitle_bytes, "image": limits.image_bytes}.get(track.kind)
        self.cap = min(context.max_bytes, self.small or context.max_bytes)
        self.if_range = self.query = True
        self.plan(plain=self.small is not None)

    def plan(self, *, plain: bool) -> None:
        """Begin with what the file has: what is pinned, what is missing."""
        self.plain = plain
        self.size = self.file.identity.size if self.file.identity.size is not None else self.track.size
        self.query = self.query and not plain
        # Declared sizes may be wrong: only in query mode, which names none, are they all there is to begin with.
        self.pinned = self.querying
        overlap = 0 if self.file.identity.verifiable else _OVERLAP
        self.gaps = Gaps.of(self.file.done, self.size, overlap=overlap)
        if not self.pinned and self.size is not None and not self.gaps:
            self.pinned = True

    @property
    def querying(self) -> bool:
        """Whether ranges are asked for by ``&range=``, which takes a known size."""
        return self.query and self.size is not None and self.links.request.mode == "query"

    def ask(self, gap: Gap) -> tuple[Request, tuple[str, ...]]:
        """The request for a gap and its header lines."""
        request, start = self.links.request, gap.start - gap.overlap
        if self.querying:
            mark = "&" if "?" in request.url else "?"
            return replace(request, url=f"{request.url}{mark}range={start}-{gap.end - 1}"), ()
        request = replace(request, mode="header")
        if self.plain and gap.start == 0:
            return request, ()
        line = f"Range: bytes={start}-{'' if gap.end == UNKNOWN else gap.end - 1}"
        strong = self.file.identity.strong
        return request, (line, f"If-Range: {strong}") if strong and self.if_range else (line,)

    def accept(self, chunk: Chunk, head: Head) -> None:
        """Judge the head of an answer; raises to refuse it. Inside curl's callback: it touches no other request."""
        host = chunk.request.host
        answers.check_status(host, head, utc_now())
        answers.check_content(host, head, text=self.small is not None)
        if head.status == answers.UNSATISFIABLE:
            self._unsatisfiable(chunk, head)
        elif chunk.request.mode == "query":
            self._exact(chunk, head)
        elif head.status == answers.PARTIAL:
            self._partial(chunk, head)
        else:
            self._whole(chunk, head)

    def _partial(self, chunk: Chunk, head: Head) -> None:
        found = answers.check_partial(chunk.request.host, head, chunk.start)
        self._identify(chunk, identity_of(head, found.total))
        if self.size is None:
            raise LengthUnknown(f"The media host {chunk.request.host} does not say how long the media is.")
        if found.last + 1 < chunk.end:
            if chunk.owns:
                self.gaps.put(Gap(found.last + 1, min(chunk.end, self.size)))
            chunk.end = found.last + 1

    def _exact(self, chunk: Chunk, head: Head) -> None:
        """Query mode: nothing but the length says that these are the bytes that were asked for."""
        if head.length != chunk.asked - chunk.start:
            raise RangeRefused(f"The media host {chunk.request.host} sent another length than was asked for.")
        self._identify(chunk, identity_of(head, None))

    def _whole(self, chunk: Chunk, head: Head) -> None:
        """A 200: the host ignores ranges, or says by If-Range that the object changed."""
        found = identity_of(head, head.length)
        if chunk.start > 0:
            self._whole_again(chunk, found)
            return
        if head.length is None and self.links.proxied_next and not self.small:
            raise LengthUnknown(f"The media host {chunk.request.host} does not say how long the media is.")
        self._identify(chunk, found)
        if self.pinned and not self.plain:
            return
        self.plain = True
        self.gaps = Gaps(())
        chunk.unbounded = found.size is None
        chunk.end = self.cap if found.size is None else found.size

    def _whole_again(self, chunk: Chunk, found: Identity) -> None:
        host, pinned = chunk.request.host, self.file.identity
        answers.check_identity(host, pinned, found, vouched=False)
        if self.plain and pinned.strong and found.etag == pinned.etag and found.size == pinned.size:
            chunk.skip = chunk.at  # the same object from its beginning: what is on disk already is dropped
            return
        if pinned.strong and self.if_range:
            self.if_range = False
        elif self.plain:
            raise UpstreamChanged(f"The media host {host} cannot go on where the transfer broke.")
        raise RangeRefused(f"The media host {host} sent the whole media instead of a part.")

    def _unsatisfiable(self, chunk: Chunk, head: Head) -> None:
        host, size = chunk.request.host, unsatisfied_size(head.get("content-range"))
        if size == 0:
            raise SourceInvalid(f"The media at {host} is empty.")
        if size is not None and size != self.size:
            if self.file.identity.size is not None:
                raise UpstreamChanged(f"The media at {host} changed while it was read: it has {size} bytes now.")
            self.resize(size)
        raise RangeRefused(f"The media host {host} refuses a part of the media that should be there.")

    def _identify(self, chunk: Chunk, found: Identity) -> None:
        pinned = self.file.identity
        vouched = any(line.startswith("If-Range") for line in chunk.headers)
        answers.check_identity(chunk.request.host, pinned, found, vouched=vouched)
        size = pinned.size if found.size is None else found.size
        if size == 0:
            raise SourceInvalid(f"The media at {chunk.request.host} is empty.")
        self.file.pin(Identity(size, pinned.etag or found.etag, pinned.last_modified or found.last_modified))
        if size is not None:
            self.resize(size)
            chunk.end = min(chunk.end, size)
        self.pinned = self.pinned or self.size is not None

    def resize(self, size: int) -> None:
        """The host's word on the size, which goes before the declared one."""
        if size > self.cap:
            raise MediaTooLarge(f"The media has {size} bytes, more than this service takes.")
        old, self.size = self.size, size
        if old == size:
            return
        if old is None or old > size:
            self.gaps.clip(size)
        else:
            self.gaps.put(Gap(old, size))
