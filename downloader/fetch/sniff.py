"""What a file's first bytes say that it is, whatever its host called it."""

from pathlib import Path
from typing import Literal

Format = Literal["mp4", "webm", "mpegts", "ogg", "mp3", "flv", "text", "image"]

_HEAD = 1024  # bytes looked at
_MP4_BOXES = (b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"free", b"skip", b"mdat", b"wide")
_TS_PACKET = 188
_IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM")
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script")


def sniff(path: Path) -> Format | None:
    """The demuxer family of the file at ``path``, or None when its first bytes are no known one's."""
    with path.open("rb") as file:
        return sniff_bytes(file.read(_HEAD))


def sniff_bytes(head: bytes) -> Format | None:  # noqa: PLR0911 - one return a format
    """The demuxer family that data beginning with ``head`` belongs to."""
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"heic", b"mif1"):
        return "image"
    if head[4:8] in _MP4_BOXES:
        return "mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "webm"
    if head.startswith(b"OggS"):
        return "ogg"
    if head.startswith(b"FLV\x01"):
        return "flv"
    if head.startswith(_IMAGES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP"):
        return "image"
    if head[:1] == b"\x47" and (len(head) <= _TS_PACKET or head[_TS_PACKET] == 0x47):  # noqa: PLR2004 - sync byte
        return "mpegts"
    if head.startswith(b"ID3") or (head[:1] == b"\xff" and head[1:2] in (b"\xfb", b"\xf3", b"\xf2", b"\xfa")):
        return "mp3"
    return "text" if head and _is_text(head) else None


def is_page(head: bytes) -> bool:
    """Whether data that begins with ``head`` is an HTML page, whatever its Content-Type."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGES)


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # The sample may cut the last character.
        return error.start >= len(head) - 3 and b"\x00" not in head
    return b"\x00" not in head
