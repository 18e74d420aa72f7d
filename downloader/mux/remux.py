"""Remuxing: picture and sound are copied into one container, no packet is changed."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from downloader.errors import MediaInvalid
from downloader.handoff import FetchedTrack, Media
from downloader.mux import check, formats, lanes, sink
from downloader.mux.formats import Container
from downloader.mux.inputs import keep_only, opened, picture_of, sound_of

Advance = Callable[[float, float], None]
_ALIGNED = 2.0  # seconds: tracks that begin this close to each other share a timeline


@dataclass(frozen=True, slots=True)
class Source:
    """An opened track and the streams of it that are wanted; either may be None, not both."""

    fetched: FetchedTrack
    container: Any
    picture: Any
    sound: Any

    @property
    def streams(self) -> list[Any]:
        """The wanted streams."""
        return [stream for stream in (self.picture, self.sound) if stream is not None]

    @property
    def start(self) -> float:
        """Where the first of its streams begins, in seconds."""
        starts = [s.start_time * float(s.time_base) for s in self.streams if s.start_time is not None]
        return min(starts, default=0.0)

    @property
    def seconds(self) -> float:
        """Its length as the file declares it; 0 when it does not."""
        declared = [(s.duration or 0) * float(s.time_base) for s in self.streams]
        return max(declared, default=0.0) or max((self.container.duration or 0) / 1e6, 0.0)


@dataclass(frozen=True, slots=True)
class Remuxed:
    """What came of it. ``seconds`` is the length of the output as its header says."""

    container: Container
    seconds: float
    picture: bool
    warnings: tuple[str, ...]


def sources(stack: ExitStack, work: Path, tracks: tuple[FetchedTrack, ...], *, picture: bool) -> list[Source]:
    """Open every track of picture and sound; without ``picture`` only sound is wanted.

    Raises MediaInvalid when a track does not hold what it is there for.
    """
    found: list[Source] = []
    for fetched in tracks:
        kind = fetched.track.kind
        if kind not in ("video", "audio", "muxed") or (kind == "video" and not picture):
            continue
        container = stack.enter_context(opened(work, fetched))
        image = picture_of(container) if picture and kind != "audio" else None
        sound = sound_of(container) if kind != "video" else None
        if (kind == "video" and image is None) or (kind == "audio" and sound is None) or (image is sound is None):
            missing = "picture" if kind == "video" else "sound"
            raise MediaInvalid(f"The {kind} track holds no {missing}.")
        source = Source(fetched, container, image, sound)
        keep_only(container, source.streams)
        found.append(source)
    if not found:
        raise MediaInvalid("There is no track to make a file of.")
    return found


def bases(found: list[Source]) -> list[float]:
    """What to take off each source's timestamps so that the output begins at 0 and tracks stay aligned."""
    starts = [source.start for source in found]
    if max(starts) - min(starts) < _ALIGNED:
        # Below zero lies the encoder's priming of sound, which an edit list hides: it stays.
        starts = [max(min(starts), 0.0) if min(starts) > -_ALIGNED else min(starts)] * len(starts)
    return starts


def remux(work: Path, path: Path, tracks: tuple[FetchedTrack, ...], media: Media, advance: Advance) -> Remuxed:
    """Copy ``tracks`` into ``path`` as ``media`` says; ``advance(done, total)`` hears seconds."""
    wanted = formats.container(media.container)
    with ExitStack() as stack:
        found = sources(stack, work, tracks, picture=wanted.video != frozenset())
        picture = next((source.picture for source in found if source.picture is not None), None)
        sound = next((source.sound for source in found if source.sound is not None), None)
        container = formats.fitting(wanted, _codec(picture), _codec(sound))
        total = max(source.seconds for source in found) or media.duration_s
        with sink.created(path, container, media) as output:
            queue = _lanes(found, output, container)
            lanes.copy(queue, output.mux_one, lambda done: advance(min(done, total), total))
    strands = [strand for lane in queue for strand in lane.strands.values()]
    if any(not strand.count for strand in strands):
        raise MediaInvalid("A track holds no media at all.")
    written = max(strand.end for strand in strands) - min(0.0, *(strand.start for strand in strands))
    seconds = check.checked(path, container, picture=picture is not None, sound=sound is not None, seconds=written)
    if total and written < total - check.tolerance(total):
        raise MediaInvalid(f"The media ends after {written:.1f} s of {total:.1f} s.")
    return Remuxed(container, seconds, picture is not None, _said(wanted, container))


def _lanes(found: list[Source], output: Any, container: Container) -> list[lanes.Lane]:
    made: list[lanes.Lane] = []
    for source, base in zip(found, bases(found), strict=True):
        jumps = source.container.format.name == "mpegts"
        strands = {
            stream.index: lanes.Strand(stream, sink.add_copy(output, stream, container), base, jumps=jumps)
            for stream in source.streams
        }
        made.append(lanes.Lane(source.container.demux(source.streams), strands))
    return made


def _codec(stream: Any) -> str | None:
    """FFmpeg's name of the codec (not of the decoder: dav1d decodes av1), or None without a stream."""
    return None if stream is None else str(stream.codec_context.codec.canonical_name)


def _said(wanted: Container, container: Container) -> tuple[str, ...]:
    if wanted is container:
        return ()
    return (f"What the source offers does not fit into {wanted.name}; the file is {container.name}.",)
