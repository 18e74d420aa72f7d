"""Codec families, and which container holds which family by stream copy.

Sources: RFC 6381 (codecs parameter), ISO/IEC 14496-15, the WebM container guidelines, RFC 7845 (Opus in Ogg).
"""

from typing import Literal

ByteFormat = Literal["mp4", "webm", "mpegts", "ogg", "mp3", "flv"]

_FAMILY_BY_PREFIX = {
    "avc": "h264",
    "h264": "h264",
    "h.264": "h264",
    "hev": "h265",
    "hvc": "h265",
    "h265": "h265",
    "h.265": "h265",
    "vp09": "vp9",
    "vp9": "vp9",
    "vp8": "vp8",
    "vp08": "vp8",
    "av01": "av1",
    "av1": "av1",
    "mp4a.6b": "mp3",
    "mp4a.69": "mp3",
    "mp4a": "aac",
    "aac": "aac",
    "opus": "opus",
    "vorbis": "vorbis",
    "mp3": "mp3",
    "mpeg": "mp3",
    "flac": "flac",
    "ec-3": "eac3",
    "eac3": "eac3",
    "ac-3": "ac3",
    "ac3": "ac3",
}

AUDIO_FAMILIES = frozenset({"aac", "opus", "vorbis", "mp3", "flac", "ac3", "eac3"})
VIDEO_FAMILIES = frozenset({"h264", "h265", "vp8", "vp9", "av1"})

COPYABLE: dict[str, frozenset[str]] = {
    "mp4": frozenset({"h264", "h265", "vp9", "av1", "aac", "opus", "mp3", "flac", "ac3", "eac3"}),
    "webm": frozenset({"vp8", "vp9", "av1", "opus", "vorbis"}),
    "mkv": VIDEO_FAMILIES | AUDIO_FAMILIES,
    "m4a": frozenset({"aac"}),
    "ogg": frozenset({"opus", "vorbis"}),
    "opus": frozenset({"opus"}),
    "mp3": frozenset({"mp3"}),
    "flac": frozenset({"flac"}),
    "wav": frozenset(),
}
"""The families that each container of ours takes as they are."""

NATURAL_AUDIO_CONTAINER = {
    "aac": "m4a",
    "opus": "webm",
    "vorbis": "ogg",
    "mp3": "mp3",
    "flac": "flac",
    "ac3": "mkv",
    "eac3": "mkv",
}
"""Where sound of a family lives when its codec is to be kept and nothing else is asked."""

TRANSCODE_CODEC = {
    "m4a": "aac",
    "webm": "opus",
    "ogg": "opus",
    "opus": "opus",
    "mp3": "mp3",
    "flac": "flac",
    "wav": "pcm_s16le",
}
"""The codec that sound is converted to for a container that cannot take it as it is."""


def family(codec: str | None) -> str | None:
    """The family of one codec name (``avc1.64001F`` → ``h264``), or None when it is unknown."""
    word = (codec or "").strip().lower()
    for length in (7, 5, 4, 3):
        found = _FAMILY_BY_PREFIX.get(word[:length])
        if found:
            return found
    return None


def families(codecs: str | None) -> tuple[str | None, str | None]:
    """The families of picture and sound in a list such as ``avc1.64001F, mp4a.40.2``."""
    found = [family(word) for word in (codecs or "").split(",")]
    video = next((name for name in found if name in VIDEO_FAMILIES), None)
    audio = next((name for name in found if name in AUDIO_FAMILIES), None)
    return video, audio
