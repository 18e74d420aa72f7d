"""Names of files as people and browsers see them: made from titles, safe on every file system and in every header."""

import unicodedata
from typing import Final
from urllib.parse import quote

MAX_CHARACTERS: Final = 180
MAX_BYTES: Final = 240
"""Of a whole name in UTF-8: below the 255 of ext4, APFS and NTFS, with room for a work file's ending."""

FALLBACK_STEM: Final = "download"

_RESERVED: Final = str.maketrans(
    {'"': "'", "<": "(", ">": ")", ":": "-", "/": "-", "\\": "-", "|": "-", "?": None, "*": None}
)
# Zero-width (non-)joiners shape Persian and emoji, and are the only format characters that Chromium keeps in a name.
_JOINERS: Final = frozenset("\u200c\u200d")
# Letters and symbols by their category, yet nothing to see.
_BLANKS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0\u034f\u17b4\u17b5")
# What Chromium replaces at either end of a name.
_ENDS: Final = " .~"
_DEVICES: Final = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
    | {f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789¹²³"}
)
_ATTR_CHAR: Final = "!#$&+-.^_`|~"  # RFC 8187 section 3.2.1, beside letters and digits
_UNSAFE_QUOTED: Final = frozenset('"\\%')  # RFC 6266 appendix D: browsers disagree on these
_CONTENT_TYPES: Final = {
    "3gp": "video/3gpp",
    "aac": "audio/aac",
    "avif": "image/avif",
    "flac": "audio/flac",
    "flv": "video/x-flv",
    "gif": "image/gif",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "json": "application/json",
    "m4a": "audio/mp4",
    "mka": "audio/x-matroska",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "png": "image/png",
    "srt": "application/x-subrip",
    "ts": "video/mp2t",
    "vtt": "text/vtt",
    "wav": "audio/wav",
    "weba": "audio/webm",
    "webm": "video/webm",
    "webp": "image/webp",
}


def file_name(title: str, extension: str) -> str:
    """A file name for ``title`` in NFC, ending in ``.extension`` (a container's, with or without its dot).

    Holds no separator, no character that Windows reserves, no control character or direction mark, no device name,
    and neither begins nor ends with a blank or a dot; at most 180 code points and 240 bytes, cut between graphemes
    (UAX 29). A title with nothing to see in it becomes ``download``.
    """
    ending = "." + ("".join(c for c in extension.lower() if c.isascii() and c.isalnum())[:10] or "bin")
    stem = _clean(title)
    if stem.lower().endswith(ending):
        stem = stem[: -len(ending)].rstrip(_ENDS)
    room = MAX_CHARACTERS - len(ending), MAX_BYTES - len(ending)
    stem = _cut(stem, *room).rstrip(_ENDS)
    if not any(_visible(character) for character in stem):
        stem = FALLBACK_STEM
    if stem.split(".", 1)[0].rstrip().upper() in _DEVICES:
        stem = _cut(f"_{stem}", *room).rstrip(_ENDS)
    return stem + ending


def content_disposition(name: str, *, inline: bool = False) -> str:
    """The Content-Disposition value that saves (or shows) a file as ``name``: RFC 6266, with RFC 8187 when needed.

    Always one line of printable ASCII, whatever ``name`` holds.
    """
    kind = "inline" if inline else "attachment"
    safe = "".join(_plain(character) for character in name) or FALLBACK_STEM
    fallback = _ascii(safe)
    value = f'{kind}; filename="{fallback}"'
    if fallback == safe:
        return value
    return f"{value}; filename*=UTF-8''{quote(safe, safe=_ATTR_CHAR, errors='replace')}"


def content_type(extension: str) -> str:
    """The media type of files that end in ``extension`` (with or without its dot); octets when it is not known."""
    return _CONTENT_TYPES.get(extension.lower().lstrip("."), "application/octet-stream")


def _clean(title: str) -> str:
    kept = "".join(_keep(character) for character in title).translate(_RESERVED)
    return " ".join(unicodedata.normalize("NFC", kept).split()).strip(_ENDS)


def _keep(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Cc", "Zl", "Zp", "Zs"):
        return " "
    if category in ("Cs", "Cn") or (category == "Cf" and character not in _JOINERS):
        return ""
    return character


def _visible(character: str) -> bool:
    return unicodedata.category(character)[0] not in "CZM" and character not in _BLANKS


def _cut(stem: str, characters: int, size: int) -> str:
    """The longest beginning of ``stem`` within both limits that ends between graphemes, or at least code points."""
    if len(stem) <= characters and len(stem.encode()) <= size:
        return stem
    import regex  # noqa: PLC0415 - 80 ms and megabytes that only a title too long needs

    fitting = _fitting(regex.findall(r"\X", stem), characters, size)
    return fitting or _fitting(list(stem), characters, size)


def _fitting(pieces: list[str], characters: int, size: int) -> str:
    end = 0
    for piece in pieces:
        characters -= len(piece)
        size -= len(piece.encode())
        if characters < 0 or size < 0:
            break
        end += 1
    return "".join(pieces[:end])


def _plain(character: str) -> str:
    return "_" if character in "/\\" or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") else character


def _ascii(name: str) -> str:
    """``name`` for clients that do not read ``filename*``: accents dropped, each run of the rest an underscore."""
    kept: list[str] = []
    for character in unicodedata.normalize("NFKD", name):
        if character.isascii():
            kept.append("_" if character in _UNSAFE_QUOTED else character)
        elif not unicodedata.combining(character) and kept[-1:] != ["_"]:
            kept.append("_")
    return "".join(kept) or FALLBACK_STEM
