"""Sound converted to another codec: decoded, cut, resampled and encoded by FFmpeg."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, groupby
from typing import Any

import av

from downloader.errors import MediaInvalid
from downloader.handoff import Media
from downloader.mux import check, extras, formats, sink
from downloader.mux.cuts import SoundGate
from downloader.mux.formats import Container
from downloader.mux.lanes import copy
from downloader.mux.remux import remux
from downloader.mux.sources import Source, codec_of, gathered
from downloader.mux.task import Outcome, Task
from downloader.mux.timeline import WHOLE, Timeline, without

_MP3_RATES = (32000, 44100, 48000)
_STEREO = 2
_GAP = 0.25  # seconds without sound that are a pause: a decoder's own delay is shorter
_SPOILT = 0.05  # the share of packets that may fail to decode


@dataclass(frozen=True, slots=True)
class Encoder:
    """FFmpeg's encoder of a codec; bit rates in bits per second, all 0 where it has none (lossless)."""

    name: str
    lowest: int = 0
    usual: int = 0
    highest: int = 0
    rates: tuple[int, ...] = ()
    surround: bool = False

    def bitrate(self, wanted: int | None) -> int:
        """The bit rate to encode at."""
        return min(max(wanted or self.usual, self.lowest), self.highest)

    def rate(self, source: int) -> int:
        """The sample rate to encode at, in Hz."""
        return source if not self.rates or source in self.rates else max(self.rates)


ENCODERS = {
    "mp3": Encoder("libmp3lame", 32_000, 192_000, 320_000, _MP3_RATES),
    "aac": Encoder("aac", 32_000, 192_000, 512_000, (*_MP3_RATES, 22050, 24000, 16000)),
    "opus": Encoder("libopus", 16_000, 128_000, 510_000, (48000,)),
    "flac": Encoder("flac", surround=True),
    "pcm_s16le": Encoder("pcm_s16le", surround=True),
}


def transcode(task: Task) -> Outcome:
    """Convert the sound of the task's tracks to its codec; sound that is there already is copied."""
    media = task.media
    encoder = ENCODERS.get(media.audio_codec or "")
    container = formats.container(media.container)
    if encoder is None or not container.holds(None, media.audio_codec):
        raise MediaInvalid(f"{container.name} holds no sound of the codec {(media.audio_codec or '?')[:20]!r}.")
    with gathered(task.work, task.tracks, picture=False, decoded=True) as found:
        source = found[0]
        same = codec_of(source.sound) == media.audio_codec and not media.bitrate
        if not source.sound.codec_context.sample_rate:
            raise MediaInvalid("The sound has no sample rate.")
        if not same:
            return _converted(task, source, container, encoder)
    return remux(task)


def _converted(task: Task, source: Source, container: Container, encoder: Encoder) -> Outcome:
    media, path = task.media, task.path
    declared = source.seconds or media.duration_s
    timeline = without(media.cuts, declared) if media.cuts else WHOLE
    total = timeline.length(declared)
    options = {"movflags": "faststart"} if container.moov else {}
    with sink.created(path, container, media, options) as output:
        stream = _stream(output, encoder, source.sound.codec_context, media)
        subtitles, first = extras.attach(output, container, task.along, timeline, declared)
        write = sink.writer(output)
        for packet in first:
            write(packet)
        copy(subtitles, write, lambda _: None)
        seconds = 0.0
        limit = 0.0 if source.jumps else total + check.tolerance(total)
        for frame in _uniform(_frames(source, timeline), stream.codec_context, limit):
            seconds += frame.samples / frame.sample_rate
            for packet in stream.encode(frame):
                write(packet)
            task.advance(min(seconds, total), total)
        for packet in stream.encode(None):
            write(packet)
    if not seconds:
        raise MediaInvalid("The sound cannot be decoded.")
    if source.seconds and not source.jumps and seconds < total - check.tolerance(total):
        raise MediaInvalid(f"The sound ends after {seconds:.1f} s of {total:.1f} s.")
    found = check.checked(path, container, picture=False, sound=True, seconds=seconds)
    odd = check.compared(found, timeline.length(media.duration_s))
    return Outcome(container, found, picture=False, timeline=timeline, warnings=odd)


def _stream(output: Any, encoder: Encoder, source: Any, media: Media) -> Any:
    stream = output.add_stream(encoder.name, rate=encoder.rate(source.sample_rate))
    context = stream.codec_context
    if source.layout.nb_channels == 1:
        context.layout = "mono"
    elif source.layout.nb_channels > _STEREO and encoder.surround:
        context.layout = source.layout
    else:
        context.layout = "stereo"
    if encoder.highest:
        context.bit_rate = encoder.bitrate(media.bitrate)
    return stream


def _frames(source: Source, timeline: Timeline) -> Iterator[tuple[float, Any]]:
    """The decoded frames that are kept, with when they begin in the output, in seconds.

    Raises MediaInvalid when too many packets are spoilt.
    """
    gate = SoundGate(timeline)
    packets = spoilt = 0
    tick = float(source.sound.time_base)
    for packet in source.container.demux(source.sound):
        packets += 1
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            spoilt += 1
            continue
        for frame in frames:
            start = (frame.pts or 0) * tick - source.base
            shift = 0.0 if timeline is WHOLE else gate.shift(None, start, frame.samples / frame.sample_rate)
            if shift is not None:
                yield start - shift, frame
    if spoilt > packets * _SPOILT:
        raise MediaInvalid("The sound is damaged.")


def _uniform(frames: Iterator[tuple[float, Any]], context: Any, limit: float) -> Iterator[Any]:
    """The frames as the encoder takes them, end to end, whatever format the source changes to midway.

    Where nothing is said for a while there is silence, but none after ``limit`` seconds.
    """
    made = 0
    for _, run in groupby(frames, key=_shape):
        resampler: Any = av.AudioResampler(context.format, context.layout, context.sample_rate)
        for start, frame in chain(run, ((limit, None),)):
            missing = round(start * context.sample_rate) - made if start < limit else 0
            silent = _silence(context, missing) if missing > _GAP * context.sample_rate else ()
            if frame is not None:
                frame.pts = None
            for one in chain(silent, resampler.resample(frame)):  # which lets go of the rest at None
                one.pts, one.time_base = made, Fraction(1, one.sample_rate)
                made += one.samples
                yield one


def _shape(timed: tuple[float, Any]) -> tuple[str, str, int]:
    frame = timed[1]
    return frame.format.name, frame.layout.name, frame.sample_rate


def _silence(context: Any, samples: int) -> Iterator[Any]:
    while samples:
        count = min(samples, context.sample_rate)
        frame: Any = av.AudioFrame(context.format.name, context.layout.name, count)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate = context.sample_rate
        yield frame
        samples -= count
