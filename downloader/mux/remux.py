"""Remuxing: picture and sound are copied into one container, no packet is changed."""

from dataclasses import dataclass
from typing import Any

from downloader.errors import MediaInvalid
from downloader.mux import blocks, check, cuts, extras, formats, lanes, moov, sink, splice
from downloader.mux.boxes import Unsuited
from downloader.mux.extras import Extras
from downloader.mux.formats import Container
from downloader.mux.languages import three_letters
from downloader.mux.sources import Source, codec_of, gathered
from downloader.mux.task import Outcome, Task
from downloader.mux.timeline import WHOLE, Timeline, without

_PICTURES_A_SECOND = 60.0  # where a file does not say
_OPUS_SAMPLES = 960  # 20 ms, in a packet of Opus; FFmpeg knows the figure of other codecs


@dataclass(frozen=True, slots=True)
class _Cutting:
    """How the cuts fall: on which timeline, and at which pictures."""

    timeline: Timeline = WHOLE
    snapped: cuts.Snapped | None = None
    warnings: tuple[str, ...] = ()


def remux(task: Task) -> Outcome:
    """Copy the task's tracks into one file."""
    try:
        return _spliced(task)
    except (Unsuited, MemoryError):  # of very many samples the tables take more room than FFmpeg's
        pass  # packet by packet, then
    cutting = _cutting(task) if task.media.cuts else _Cutting()
    try:
        return _copied(task, cutting, in_front=True)
    except sink.IndexTooLong:
        return _copied(task, cutting, in_front=False)


def _spliced(task: Task) -> Outcome:
    """In large pieces, where the tracks are fragmented MP4; raises Unsuited otherwise, with nothing written."""
    media = task.media
    container = formats.container(media.container)
    with (
        splice.parts(task, container) as parts,
        gathered(task.work, task.tracks, picture=container.video != frozenset()) as found,
    ):
        if formats.fitting(container, *_codecs(found)) is not container:
            raise Unsuited
        declared = max(source.seconds for source in found)
        with blocks.ahead(task.path, _expected(found, declared, declared), durable=task.durable):
            written = splice.spliced(task, container, found, parts, declared or media.duration_s)
    return _outcome(task, container, found, _Cutting(), written=written, declared=declared)


def _copied(task: Task, cutting: _Cutting, *, in_front: bool) -> Outcome:
    """Packet by packet."""
    media, timeline = task.media, cutting.timeline
    wanted = formats.container(media.container)
    with gathered(task.work, task.tracks, picture=wanted.video != frozenset()) as found:
        container = formats.fitting(wanted, *_codecs(found))
        declared = max(source.seconds for source in found)
        total = timeline.length(declared or media.duration_s)
        options = _options(container, found, task.along, total, in_front=in_front)
        with (
            blocks.ahead(task.path, _expected(found, total, declared), durable=task.durable),
            sink.created(task.path, container, media, options) as output,
        ):
            peers: list[lanes.Strand] = []
            copied = [_lane(source, output, container, cutting, peers) for source in found]
            subtitles, first = extras.attach(output, container, task.along, timeline, declared or media.duration_s)
            write = sink.writer(output)
            for packet in first:
                write(packet)
            lanes.copy([*copied, *subtitles], write, lambda done: task.advance(min(done, total), total))
    strands = [strand for lane in copied for strand in lane.strands.values()]
    if any(strand.empty for strand in strands):
        raise MediaInvalid("A track holds no media at all.")
    written = max(strand.end for strand in strands) - min(0.0, *(strand.start for strand in strands))
    return _outcome(task, container, found, cutting, written=written, declared=declared)


def _outcome(
    task: Task, container: Container, found: list[Source], cutting: _Cutting, *, written: float, declared: float
) -> Outcome:
    """Check the file, in which ``written`` seconds of media lie; the sources say that they hold ``declared``."""
    media, timeline = task.media, cutting.timeline
    total = timeline.length(declared or media.duration_s)
    if written < total - check.tolerance(total) and declared and not any(source.jumps for source in found):
        raise MediaInvalid(f"The media ends after {written:.1f} s of {total:.1f} s.")
    picture, sound = (codec is not None for codec in _codecs(found))
    seconds = check.checked(task.path, container, picture=picture, sound=sound, seconds=written)
    odd = check.compared(seconds, timeline.length(media.duration_s))
    warnings = (*_said(formats.container(media.container), container), *cutting.warnings, *odd)
    return Outcome(container, seconds, picture, timeline, warnings)


def _codecs(found: list[Source]) -> tuple[str | None, str | None]:
    """What picture and sound are encoded with."""
    picture = next((source.picture for source in found if source.picture is not None), None)
    sound = next((source.sound for source in found if source.sound is not None), None)
    return codec_of(picture), codec_of(sound)


def _expected(found: list[Source], total: float, declared: float) -> int:
    """Bytes that the output will have at least, near enough; 0 when no one knows."""
    if not declared or any(len(source.container.streams) > len(source.streams) for source in found):
        return 0
    return round(sum(source.fetched.size for source in found) * min(total / declared, 1.0))


def _lane(
    source: Source, output: Any, container: Container, cutting: _Cutting, peers: list[lanes.Strand]
) -> lanes.Lane:
    strands: dict[int, lanes.Strand] = {}
    for stream in source.streams:
        target = sink.add_copy(output, stream, container)
        target.metadata["language"] = three_letters(source.fetched.track.language)
        gate: lanes.Gate | None = None
        if cutting.timeline is not WHOLE:
            gate = cuts.SoundGate(cutting.timeline)
            if stream is source.picture and cutting.snapped is not None:
                gate = cuts.PictureGate(cutting.snapped)
        strands[stream.index] = lanes.Strand(
            stream, target, source.base, jumps=source.jumps, lossy=source.lossy, gate=gate, peers=peers
        )
    return lanes.Lane(source.container.demux(source.streams), strands)


def _cutting(task: Task) -> _Cutting:
    """Fit the cuts to the picture: reads it once ahead. Without a picture they stay as they are."""
    media = task.media
    picture = formats.container(media.container).video != frozenset()
    with gathered(task.work, task.tracks, picture=picture) as found:
        seconds = max(source.seconds for source in found) or media.duration_s
        source = next((source for source in found if source.picture is not None), None)
        if source is None:
            return _Cutting(without(media.cuts, seconds))
        survey = cuts.Survey()
        strand = lanes.Strand(source.picture, None, source.base, jumps=source.jumps, lossy=source.lossy, gate=survey)
        for packet in source.container.demux(source.picture):
            if packet.size:
                strand.place(packet)
                task.advance(0.0, seconds)
    snapped = cuts.snap(survey, media.cuts)
    if not snapped.timeline.spans:
        raise MediaInvalid("Nothing is left of the media after the cuts.")
    left = "A SponsorBlock segment was left in: no key frame lies near its end." if snapped.kept_whole else ""
    return _Cutting(snapped.timeline, snapped, (left,) if left else ())


def _options(
    container: Container, found: list[Source], along: Extras, seconds: float, *, in_front: bool
) -> dict[str, str]:
    """The muxer's options: how the index comes before the media."""
    media = along.media
    if not container.moov:
        return {}
    if not in_front or not seconds:
        return {"movflags": "faststart"}
    extra = sum(4 * len(text) for text in sink.tags(media).values()) + (len(along.cover.data) if along.cover else 0)
    size = moov.room(
        [_rate(stream, source) for source in found for stream in source.streams],
        seconds,
        cues=along.cue_count if extras.codec_for(container, media) else 0,
        chapters=len(media.chapters),
        extra=extra,
    )
    # A length that makes no sense must not make a hole of it: no index is half as large as its media.
    most = sum(source.fetched.size for source in found) // 2 + moov.LEAST + extra
    size = min(size, most)
    return {"moov_size": str(moov.aligned(size) if most > blocks.LARGE else size)}


def _rate(stream: Any, source: Source) -> moov.Rate:
    context = stream.codec_context
    seconds = (stream.duration or 0) * float(stream.time_base)
    known = stream.frames / seconds if stream.frames and seconds else 0.0
    if stream.type == "video":
        rate = known or float(stream.average_rate or 0) or _PICTURES_A_SECOND
        return moov.Rate(rate, reordered=bool(context.has_b_frames), irregular=True)
    rate = known or context.sample_rate / (context.frame_size or _OPUS_SAMPLES)
    return moov.Rate(rate, reordered=False, irregular=codec_of(stream) == "opus" or source.jumps)


def _said(wanted: Container, container: Container) -> tuple[str, ...]:
    if wanted is container:
        return ()
    return (f"What the source offers does not fit into {wanted.name}; the file is {container.name}.",)
