"""The tracks as sources: opened, their wanted streams found, their beginnings aligned."""

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from downloader.errors import MediaInvalid
from downloader.handoff import FetchedTrack
from downloader.mux.inputs import keep_only, opened, picture_of, sound_of, track_path
from downloader.mux.scan import Begin, scanned

_APART = 10.0  # seconds: tracks of unknown length that begin so far apart count from different moments
_PRIMING = 2.0  # seconds: what just before 0 is taken for the encoder's
_CLOCKLESS = ("aac", "mp3")  # what is nothing but frames of sound
_STAMP = "id3v2_priv.com.apple.streaming.transportStreamTimestamp"  # FFmpeg's name of it: RFC 8216, section 3.4
_STAMP_RATE = 90_000


@dataclass(frozen=True, slots=True)
class Source:
    """An opened track and the streams of it that are wanted; either may be None, not both.

    ``base`` is what to take off its timestamps (seconds) so that the output begins at 0 and tracks stay aligned;
    ``begins`` is what FFmpeg does not say of where its streams begin, by their numbers in the file.
    """

    fetched: FetchedTrack
    container: Any
    picture: Any
    sound: Any
    base: float = 0.0
    begins: Mapping[int, Begin] = field(default_factory=dict)

    @property
    def streams(self) -> list[Any]:
        """The wanted streams."""
        return [stream for stream in (self.picture, self.sound) if stream is not None]

    @property
    def jumps(self) -> bool:
        """Whether its clock may leap: in a transport stream, and wherever segments are joined."""
        return self.container.format.name == "mpegts" or self.fetched.track.transport == "hls"

    @property
    def lossy(self) -> bool:
        """Whether packets may be cut short without harm to others: in a transport stream."""
        return bool(self.container.format.name == "mpegts")

    @property
    def zero(self) -> float | None:
        """Where its 0 lies on the clock of other tracks, in seconds; None when it has no clock."""
        if self.container.format.name not in _CLOCKLESS:
            return 0.0
        stamp = _octets(self.container.metadata.get(_STAMP, ""))
        return int.from_bytes(stamp, "big") % (1 << 33) / _STAMP_RATE if stamp else None

    @property
    def raised(self) -> float:
        """By how many seconds FFmpeg shows its picture too late."""
        begin = self.begins.get(self.picture.id) if self.picture is not None else None
        if begin is None or begin.shown is None or self.picture.start_time is None:
            return 0.0
        return max(float(self.picture.start_time * self.picture.time_base) - begin.shown, 0.0)

    @property
    def start(self) -> float:
        """Where the first of its streams begins, in seconds."""
        starts = [s.start_time * float(s.time_base) for s in self.streams if s.start_time is not None]
        return min(starts, default=0.0)

    @property
    def seconds(self) -> float:
        """Its length as the file declares it; 0 when it does not."""
        declared = max(((s.duration or 0) * float(s.time_base) - self._uncounted(s) for s in self.streams), default=0.0)
        if declared > 0:
            return declared
        # Matroska's duration counts from 0, wherever the media begins.
        late = max(self.start, 0.0) if "matroska" in self.container.format.name else 0.0
        return max((self.container.duration or 0) / 1e6 - late, 0.0)

    def _uncounted(self, stream: Any) -> float:
        return self.begins[stream.id].length_from if stream.id in self.begins else 0.0


@contextmanager
def gathered(
    work: Path, tracks: tuple[FetchedTrack, ...], *, picture: bool, decoded: bool = False
) -> Iterator[list[Source]]:
    """All tracks of picture and sound, opened; without ``picture`` only sound is wanted.

    Raises MediaInvalid when a track does not hold what it is there for, or when there is none.
    """
    with ExitStack() as stack:
        found: list[Source] = []
        for fetched in tracks:
            kind = fetched.track.kind
            if kind in ("audio", "muxed") or (kind == "video" and picture):
                container = stack.enter_context(opened(work, fetched, decoded=decoded))
                found.append(_source(work, fetched, container, picture=picture and not fetched.track.audio_only))
        if not found:
            raise MediaInvalid("There is no track to make a file of.")
        yield _aligned(found)


def codec_of(stream: Any) -> str | None:
    """FFmpeg's name of the codec (not of the decoder: libdav1d decodes av1), or None without a stream.

    Raises MediaInvalid when FFmpeg does not know the codec.
    """
    if stream is None:
        return None
    if stream.codec_context is None:
        raise MediaInvalid(f"The {stream.type} track is in a codec that is not known.")
    return str(stream.codec_context.codec.canonical_name)


def _source(work: Path, fetched: FetchedTrack, container: Any, *, picture: bool) -> Source:
    kind = fetched.track.kind
    image = picture_of(container) if picture and kind != "audio" else None
    sound = sound_of(container) if kind != "video" else None
    if (kind == "video" and image is None) or (kind == "audio" and sound is None) or (image is None and sound is None):
        raise MediaInvalid(f"The {kind} track holds no {'picture' if kind == 'video' else 'sound'}.")
    begins = scanned(track_path(work, fetched)) if container.format.name == "mov" else {}
    source = Source(fetched, container, image, sound, begins=begins)
    keep_only(container, source.streams)
    return source


def _aligned(found: list[Source]) -> list[Source]:
    """The sources on one timeline; one that cannot be placed there begins where the others do."""
    clocks = {number: source.start + source.zero for number, source in enumerate(found) if source.zero is not None}
    first = min(clocks.values(), default=0.0)
    apart = max(source.seconds for source in found) or _APART
    # Just below zero lies the encoder's priming of sound, which an edit list hides: it stays.
    base = 0.0 if -_PRIMING < first < 0 else first
    aligned: list[Source] = []
    for number, source in enumerate(found):
        together = number in clocks and clocks[number] - first < apart
        own = base - (source.zero or 0.0) if together else source.start
        aligned.append(replace(source, base=own + source.raised))
    return aligned


def _octets(escaped: str) -> bytes:
    """What FFmpeg wrote in hexadecimal wherever it was not printable."""
    return re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), escaped.encode())
