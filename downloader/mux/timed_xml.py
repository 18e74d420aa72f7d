"""Subtitles in XML: TTML (W3C Timed Text Markup Language 2, section 12.3.1 for times) and YouTube's three timed texts.

pysubs2 reads TTML as well, but not a cue with a duration in place of its end.
"""

import html
import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET

Timed = tuple[int, int, str]
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d)(?:\.(\d+)|:(\d+))?")
_OFFSET = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|f|t)")
_FRAMES = 30.0


def cues(text: str) -> Iterator[Timed]:
    """(start, end, text) in milliseconds. Raises ValueError or ParseError for what is none of the kinds.

    The parser runs contained, fetches no entity, and expat bounds how far entities may grow.
    """
    root = ET.fromstring(text)  # noqa: S314 - see above
    kind = _name(root)
    if kind == "tt":
        return _ttml(root)
    if kind == "transcript":
        return _spans(root, "text", "start", "dur", 1000.0)
    if kind == "timedtext":
        tag = "p" if root.get("format") == "3" else "text"
        return _spans(root, tag, "t", "d", 1.0)
    raise ValueError(kind)


def _ttml(root: ET.Element) -> Iterator[Timed]:
    rates = {_local(key): value for key, value in root.attrib.items()}
    frames, ticks = float(rates.get("frameRate", _FRAMES)), float(rates.get("tickRate", 1.0))
    for element in root.iter():
        begin, end, length = (element.get(name) for name in ("begin", "end", "dur"))
        if _name(element) != "p" or begin is None or (end is None and length is None):
            continue
        start = _time(begin, frames, ticks)
        stop = _time(end, frames, ticks) if end is not None else start + _time(length or "", frames, ticks)
        yield round(start * 1000), round(stop * 1000), _text(element)


def _spans(root: ET.Element, tag: str, start: str, length: str, scale: float) -> Iterator[Timed]:
    for element in root.iter(tag):
        if element.get(start) is not None and element.get(length) is not None:
            begin = float(element.get(start, "")) * scale
            yield round(begin), round(begin + float(element.get(length, "")) * scale), html.unescape(_text(element))


def _text(element: ET.Element) -> str:
    """The words of an element: runs of blanks are one blank, <br/> is a line break."""
    for child in element.iter():
        if _name(child) == "br":
            child.text = "\n"
    return re.sub(r"[^\S\n]+", " ", "".join(element.itertext())).strip()


def _time(text: str, frames: float, ticks: float) -> float:
    """Seconds of a TTML time expression."""
    if clock := _CLOCK.fullmatch(text.strip()):
        hours, minutes, seconds, fraction, frame = clock.groups()
        whole = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
        return whole + (float(f"0.{fraction}") if fraction else int(frame or 0) / frames)
    if offset := _OFFSET.fullmatch(text.strip()):
        per_second = {"h": 1 / 3600, "m": 1 / 60, "s": 1.0, "ms": 1000.0, "f": frames, "t": ticks}[offset[2]]
        return float(offset[1]) / per_second
    raise ValueError(text)


def _name(element: ET.Element) -> str:
    return _local(element.tag)


def _local(name: str) -> str:
    return name.rsplit("}", 1)[-1]
