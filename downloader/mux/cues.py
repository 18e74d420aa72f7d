"""Subtitles: read from what sites serve, moved with the cuts, written as a file or as packets."""

import html
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal
from xml.etree import ElementTree as ET

import av
import pysubs2

from downloader.errors import MediaInvalid
from downloader.mux import timed_xml
from downloader.mux.sink import cleaned
from downloader.mux.timeline import Timeline

LIMIT = 32 << 20
"""Bytes: no subtitles are larger."""

_MILLISECOND = Fraction(1, 1000)
_LAST = 30 * 86_400_000  # milliseconds: no media is a month long
_TIMING = re.compile(r"\d\d:\d\d[.,]\d{3}\s*-->")


@dataclass(frozen=True, slots=True)
class Cue:
    """Text shown from ``start`` to ``end``, in milliseconds."""

    start: int
    end: int
    text: str


def read(data: bytes) -> list[Cue]:
    """The cues of WebVTT, SubRip, TTML or YouTube's timed text, in order, without markup, none overlapping.

    Raises MediaInvalid for anything else.
    """
    if len(data) > LIMIT:
        raise MediaInvalid("The subtitles are too large.")
    text = data.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    try:
        if text.startswith("<"):
            found = [Cue(*cue) for cue in timed_xml.cues(text)]
        elif text.startswith("WEBVTT") or _TIMING.search(text):
            kind = "vtt" if text.startswith("WEBVTT") else "srt"
            events = pysubs2.SSAFile.from_string(text, format_=kind)
            found = [Cue(event.start, event.end, html.unescape(event.plaintext)) for event in events]
        else:
            raise MediaInvalid("The subtitles are of a kind that cannot be read.")
    except (ValueError, KeyError, ET.ParseError, pysubs2.Pysubs2Error, ArithmeticError) as error:
        raise MediaInvalid("The subtitles cannot be read.") from error
    return tidied(found)


def tidied(cues: Sequence[Cue]) -> list[Cue]:
    """The cues in order, empty ones left out, those of one moment joined, each ending before the next begins."""
    tidy: list[Cue] = []
    for cue in sorted(cues, key=lambda cue: cue.start):
        text = "\n".join(line for line in cleaned(cue.text).splitlines() if line.strip())
        if not text or cue.end <= cue.start or cue.start < 0:
            continue
        if tidy and tidy[-1].start == cue.start:
            tidy[-1] = replace(tidy[-1], end=max(tidy[-1].end, cue.end), text=f"{tidy[-1].text}\n{text}")
            continue
        if tidy and tidy[-1].end > cue.start:
            tidy[-1] = replace(tidy[-1], end=cue.start)
        tidy.append(Cue(cue.start, cue.end, text))
    return tidy


def moved(cues: Sequence[Cue], timeline: Timeline, length: float) -> list[Cue]:
    """The cues on the output's timeline, which is ``length`` seconds long (0: unknown); what lies in a cut is gone."""
    end = round(length * 1000) if length else _LAST
    placed = (
        Cue(round(timeline.place(cue.start / 1000) * 1000), round(timeline.place(cue.end / 1000) * 1000), cue.text)
        for cue in cues
    )
    return tidied([replace(cue, end=min(cue.end, end)) for cue in placed if cue.start < min(cue.end, end)])


def written(cues: Sequence[Cue], kind: Literal["srt", "vtt"]) -> str:
    """The cues as a SubRip or WebVTT file."""
    if kind == "srt":
        return "\n".join(
            f"{number}\n{clock(cue.start, ',')} --> {clock(cue.end, ',')}\n{cue.text}\n"
            for number, cue in enumerate(cues, 1)
        )
    blocks = (
        f"{clock(cue.start, '.')} --> {clock(cue.end, '.')}\n{html.escape(cue.text, quote=False)}\n" for cue in cues
    )
    return "\n".join(("WEBVTT\n", *blocks))


class CueLane:
    """A lane of subtitles on their way into the muxer: see downloader.mux.lanes.Lane."""

    def __init__(self, cues: Sequence[Cue], target: Any, codec: str) -> None:
        self.clock = 0.0
        self._packets = _packets(cues, target, codec)

    def advance(self, mux: Callable[[Any], None], until: float) -> bool:
        """Write cues until one begins after ``until`` (seconds); False when there are no more."""
        for packet in self._packets:
            mux(packet)
            self.clock = packet.pts / 1000
            if self.clock >= until:
                return True
        self.clock = math.inf
        return False


def add_stream(output: Any, codec: str, language: str, title: str) -> Any:
    """A subtitle stream of ``output``: mov_text, webvtt or subrip."""
    if codec == "mov_text":
        # Only the encoder writes the sample description (fonts, box) that a tx3g track needs.
        stream = output.add_stream("mov_text")
        stream.codec_context.subtitle_header = pysubs2.SSAFile().to_string("ass").encode()
        stream.codec_context.time_base = _MILLISECOND
    else:
        stream = output.add_mux_stream(codec)
    stream.time_base = _MILLISECOND
    stream.metadata.update({"language": language, "title": title, "handler_name": title})
    return stream


def _packets(cues: Sequence[Cue], target: Any, codec: str) -> Iterator[Any]:
    """A packet for each cue; tx3g (3GPP TS 26.245) shows a sample until the next, so gaps are empty samples."""
    end = 0
    for cue in cues:
        if codec == "mov_text":
            if cue.start > end:
                yield _packet(b"\0\0", end, cue.start, target)
            encoded = cue.text.encode()[: (1 << 16) - 1]
            yield _packet(len(encoded).to_bytes(2, "big") + encoded, cue.start, cue.end, target)
        else:
            text = html.escape(cue.text, quote=False) if codec == "webvtt" else cue.text
            yield _packet(text.encode(), cue.start, cue.end, target)
        end = cue.end


def _packet(data: bytes, start: int, end: int, target: Any) -> Any:
    packet: Any = av.Packet(data)
    packet.pts = packet.dts = start
    packet.duration = end - start
    packet.time_base, packet.stream, packet.is_keyframe = _MILLISECOND, target, True
    return packet


def clock(milliseconds: int, mark: str) -> str:
    """``HH:MM:SS`` and milliseconds after ``mark``."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{rest:03d}"
