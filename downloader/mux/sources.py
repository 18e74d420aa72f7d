"""The tracks as sources: opened, their wanted streams found, their beginnings aligned."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from downloader.errors import MediaInvalid
from downloader.handoff import FetchedTrack
from downloader.mux.inputs import keep_only, opened, picture_of, sound_of

_ALIGNED = 2.0  # seconds: tracks that begin this close to each other share a timeline


@dataclass(frozen=True, slots=True)
class Source:
    """An opened track and the streams of it that are wanted; either may be None, not both.

    ``base`` is what to take off its timestamps (seconds) so that the output begins at 0 and tracks stay aligned.
    """

    fetched: FetchedTrack
    container: Any
    picture: Any
    sound: Any
    base: float = 0.0

    @property
    def streams(self) -> list[Any]:
        """The wanted streams."""
        return [stream for stream in (self.picture, self.sound) if stream is not None]

    @property
    def jumps(self) -> bool:
        """Whether its clock may leap: in a transport stream."""
        return bool(self.container.format.name == "mpegts")

    @property
    def start(self) -> float:
        """Where the first of its streams begins, in seconds."""
        starts = [s.start_time * float(s.time_base) for s in self.streams if s.start_time is not None]
        return min(starts, default=0.0)

    @property
    def seconds(self) -> float:
        """Its length as the file declares it; 0 when it does not."""
        declared = max(((s.duration or 0) * float(s.time_base) for s in self.streams), default=0.0)
        if declared > 0:
            return declared
        # Matroska's duration counts from 0, wherever the media begins.
        late = max(self.start, 0.0) if "matroska" in self.container.format.name else 0.0
        return max((self.container.duration or 0) / 1e6 - late, 0.0)


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
                found.append(_source(fetched, container, picture=picture and not fetched.track.audio_only))
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


def _source(fetched: FetchedTrack, container: Any, *, picture: bool) -> Source:
    kind = fetched.track.kind
    image = picture_of(container) if picture and kind != "audio" else None
    sound = sound_of(container) if kind != "video" else None
    if (kind == "video" and image is None) or (kind == "audio" and sound is None) or (image is None and sound is None):
        raise MediaInvalid(f"The {kind} track holds no {'picture' if kind == 'video' else 'sound'}.")
    source = Source(fetched, container, image, sound)
    keep_only(container, source.streams)
    return source


def _aligned(found: list[Source]) -> list[Source]:
    starts = [source.start for source in found]
    if max(starts) - min(starts) < _ALIGNED:
        # Just below zero lies the encoder's priming of sound, which an edit list hides: it stays.
        base = min(starts)
        starts = [0.0 if -_ALIGNED < base < 0 else base] * len(starts)
    return [
        Source(source.fetched, source.container, source.picture, source.sound, base)
        for source, base in zip(found, starts, strict=True)
    ]
