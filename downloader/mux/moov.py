"""Room for the index (moov) before the media in mp4, so that players start at once and the file is written once.

FFmpeg's ``movflags=faststart`` moves the whole media a second time; ``moov_size`` leaves a hole in front and fills it
at the end. How large the index gets is counted from rates and lengths: the sizes below are those of the sample tables
(ISO/IEC 14496-12, section 8): stsz 4, ctts 8, stts 8 bytes a sample, stsc and co64 20 bytes a chunk, of which there is
one whenever the stream changes. What is left over stays as a ``free`` box; when it was too little, the caller begins
again with the index at the end moved by FFmpeg.
"""

from collections.abc import Iterable
from dataclasses import dataclass

LEAST = 1 << 17
"""Bytes of room that even the shortest media may have."""

_WRITE = 1 << 18  # bytes that FFmpeg writes at a time
_BEFORE = 32 + 16  # bytes in front of the media beside the room: ftyp with H.264, and the headers of free and mdat
_MARGIN = 1.05
_FIXED = 8192  # headers, codec parameters, edit lists
_CHUNK = 20
_CUE = 2 * (4 + 8 + _CHUNK)  # a subtitle and the gap after it, each in a chunk of its own
_CHAPTER = 2 * (4 + 8 + _CHUNK) + 300


@dataclass(frozen=True, slots=True)
class Rate:
    """What of a stream decides the length of its tables: samples a second, and which tables vary by sample."""

    per_second: float
    reordered: bool
    irregular: bool


def room(rates: Iterable[Rate], seconds: float, *, cues: int = 0, chapters: int = 0, extra: int = 0) -> int:
    """Bytes to leave for the index of streams of these ``rates``; ``extra`` for tags and cover art."""
    found = sorted(rates, key=lambda rate: rate.per_second, reverse=True)
    a_second = sum(rate.per_second * (4 + 8 * rate.reordered + 8 * rate.irregular) for rate in found)
    # The rarer stream splits the more frequent one: at most two chunks for each of its samples, and one a second.
    changes = 2 * sum(rate.per_second for rate in found[1:]) + 1
    tables = (a_second + changes * _CHUNK) * seconds
    return round(tables * _MARGIN) + _FIXED + cues * _CUE + chapters * _CHAPTER + extra


def aligned(size: int) -> int:
    """``size`` or a little more, so that the writes of the media begin where the page cache's large folios do."""
    return size + -(size + _BEFORE) % _WRITE
