"""What goes along with picture and sound: subtitles, chapters, cover art."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
from av.stream import Disposition

from downloader.errors import MediaInvalid
from downloader.handoff import FetchedTrack, Media, Track
from downloader.mux import cues, pictures
from downloader.mux.cues import Cue, CueLane
from downloader.mux.formats import Container
from downloader.mux.inputs import track_path
from downloader.mux.languages import three_letters
from downloader.mux.order import Made
from downloader.mux.pictures import Jpeg
from downloader.mux.sink import cleaned
from downloader.mux.timeline import Timeline

_TITLE_LIMIT = 120
_CONTENT_TYPES = {"srt": "application/x-subrip", "vtt": "text/vtt"}


@dataclass(frozen=True, slots=True)
class Subtitle:
    """Subtitles in one language, on the source's timeline."""

    track: Track
    cues: list[Cue]

    @property
    def title(self) -> str:
        """How players list it."""
        return cleaned(self.track.title or self.track.language or "")[:_TITLE_LIMIT]

    @property
    def label(self) -> str:
        """What tells its file from others."""
        return f"{self.track.language or 'und'}{'-auto' if self.track.auto_generated else ''}"


@dataclass(frozen=True, slots=True)
class Extras:
    """All that goes along; ``warnings`` names what could not be read."""

    media: Media
    cover: Jpeg | None
    subtitles: tuple[Subtitle, ...]
    warnings: tuple[str, ...]

    @property
    def cue_count(self) -> int:
        """Cues of all subtitles together."""
        return sum(len(subtitle.cues) for subtitle in self.subtitles)


def load(work: Path, tracks: tuple[FetchedTrack, ...], media: Media) -> Extras:
    """Read cover and subtitles from their tracks; what cannot be read is a warning."""
    cover: Jpeg | None = None
    subtitles: list[Subtitle] = []
    warnings: list[str] = []
    for fetched in tracks:
        track = fetched.track
        try:
            if track.kind == "image":
                cover = pictures.jpeg(_bytes(work, fetched, pictures.LIMIT))
            elif track.kind == "subtitle" and media.subtitles != "none":
                subtitles.append(Subtitle(track, cues.read(_bytes(work, fetched, cues.LIMIT))))
        except MediaInvalid:
            what = "cover art" if track.kind == "image" else f"subtitles in {(track.language or 'und')[:35]!r}"
            warnings.append(f"Left out, because unreadable: the {what}.")
    return Extras(media, cover, tuple(subtitles), tuple(warnings))


def codec_for(container: Container, media: Media) -> str | None:
    """The codec of embedded subtitles, None when they are not to be or cannot be embedded."""
    if media.subtitles != "embed":
        return None
    return "webvtt" if container.name == "mkv" and media.subtitle_format == "vtt" else container.subtitle


def attach(
    output: Any, container: Container, extras: Extras, timeline: Timeline, seconds: float
) -> tuple[list[CueLane], list[Any]]:
    """Add chapters, subtitles and cover to ``output``: the lanes to copy, and packets to write before all others."""
    media = extras.media
    chapters = _chapters(media, timeline, timeline.length(seconds))
    if container.chapters == "index" and chapters:
        output.set_chapters(chapters)
    elif container.chapters == "comments":
        output.metadata.update(_comments(chapters))
    lanes: list[CueLane] = []
    codec = codec_for(container, media)
    for subtitle in extras.subtitles if codec else ():
        stream = cues.add_stream(output, codec or "", three_letters(subtitle.track.language), subtitle.title)
        lanes.append(CueLane(cues.moved(subtitle.cues, timeline, timeline.length(seconds)), stream, codec or ""))
    if extras.cover is None or container.cover is None:
        return lanes, []
    if container.cover == "attachment":
        output.add_attachment("cover.jpg", "image/jpeg", extras.cover.data)
    elif container.cover == "comment":
        output.metadata["METADATA_BLOCK_PICTURE"] = pictures.flac_picture(extras.cover)
    else:
        return lanes, [_cover_packet(output, extras.cover)]
    return lanes, []


def sidecars(stem: Path, container: Container, extras: Extras, timeline: Timeline, length: float) -> list[Made]:
    """Write subtitles that are not embedded in the artifact beside it, as ``stem`` and more; ``length``: cues.moved."""
    media = extras.media
    if codec_for(container, media) is not None:
        return []
    kind: Literal["srt", "vtt"] = media.subtitle_format or "vtt"
    made: list[Made] = []
    for number, subtitle in enumerate(extras.subtitles):
        path = stem.with_name(f"{stem.name}.{number}.{kind}")
        path.write_text(cues.written(cues.moved(subtitle.cues, timeline, length), kind), encoding="utf-8")
        made.append(Made(path.name, path.stat().st_size, kind, _CONTENT_TYPES[kind], subtitle.label))
    return made


def _bytes(work: Path, fetched: FetchedTrack, limit: int) -> bytes:
    with track_path(work, fetched).open("rb") as file:
        return file.read(limit + 1)


def _chapters(media: Media, timeline: Timeline, length: float) -> list[Any]:
    found = [chapter for chapter in timeline.chapters(media.chapters) if chapter.start < length]
    ends = [*(chapter.start for chapter in found[1:]), length][: len(found)]
    return [
        {
            "id": number,
            "start": round(chapter.start * 1000),
            "end": round(end * 1000),
            "time_base": Fraction(1, 1000),
            "metadata": {"title": cleaned(chapter.title)[:_TITLE_LIMIT]},
        }
        for number, (chapter, end) in enumerate(zip(found, ends, strict=True), 1)
    ]


def _comments(chapters: list[Any]) -> dict[str, str]:
    """Chapters as Vorbis comments: FFmpeg's own rounds their seconds up, and leaves them out of FLAC."""
    found: dict[str, str] = {}
    for number, chapter in enumerate(chapters):
        found[f"CHAPTER{number:03d}"] = cues.clock(chapter["start"], ".")
        found[f"CHAPTER{number:03d}NAME"] = chapter["metadata"]["title"]
    return found


def _cover_packet(output: Any, cover: Jpeg) -> Any:
    stream = output.add_mux_stream("mjpeg", width=cover.width, height=cover.height)
    stream.disposition = Disposition.attached_pic
    stream.time_base = Fraction(1, 90000)
    packet: Any = av.Packet(cover.data)
    packet.pts = packet.dts = 0
    packet.time_base, packet.stream, packet.is_keyframe = stream.time_base, stream, True
    return packet
