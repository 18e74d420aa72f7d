"""Containers and demuxers: what each is called by FFmpeg and what it can hold."""

from dataclasses import dataclass
from typing import Literal

from downloader.errors import MediaInvalid

_ID3_HEADER = 10

DEMUXERS = {
    "mp4": "mov",
    "webm": "matroska",
    "mpegts": "mpegts",
    "ogg": "ogg",
    "mp3": "mp3",
    "aac": "aac",
    "flv": "flv",
}
"""Demuxer family (of ``FetchedTrack.format``) to FFmpeg's input format. Nothing else is ever opened."""


@dataclass(frozen=True, slots=True)
class Container:
    """An output container.

    ``video`` and ``audio`` are the codecs it holds by FFmpeg's names (None: any; empty: none), ``subtitle`` the codec
    that embedded subtitles take. ``cover`` and ``chapters`` say how it holds
    those.
    """

    name: str
    muxer: str
    content_type: str
    video: frozenset[str] | None
    audio: frozenset[str] | None
    subtitle: Literal["mov_text", "webvtt", "subrip"] | None = None
    cover: Literal["stream", "attachment", "comment"] | None = None
    chapters: Literal["index", "comments"] | None = "index"
    moov: bool = False

    def holds(self, video: str | None, audio: str | None) -> bool:
        """Whether picture and sound of these codecs may be copied into it."""
        fits_video = video is None or self.video is None or video in self.video
        return fits_video and (audio is None or self.audio is None or audio in self.audio)


_NONE: frozenset[str] = frozenset()
_MP4_VIDEO = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4"})
_MP4_AUDIO = frozenset({"aac", "opus", "mp3", "flac", "ac3", "eac3", "alac"})
_OGG_AUDIO = frozenset({"opus", "vorbis", "flac"})
_WEBM_AUDIO = frozenset({"opus", "vorbis"})

CONTAINERS = {
    "mp4": Container("mp4", "mp4", "video/mp4", _MP4_VIDEO, _MP4_AUDIO, "mov_text", "stream", moov=True),
    "webm": Container("webm", "webm", "video/webm", frozenset({"vp8", "vp9", "av1"}), _WEBM_AUDIO, "webvtt"),
    "mkv": Container("mkv", "matroska", "video/x-matroska", None, None, "subrip", "attachment"),
    "m4a": Container("m4a", "mp4", "audio/mp4", _NONE, frozenset({"aac", "alac"}), None, "stream", moov=True),
    "ogg": Container("ogg", "ogg", "audio/ogg", _NONE, _OGG_AUDIO, None, "comment", chapters="comments"),
    "opus": Container("opus", "opus", "audio/ogg", _NONE, frozenset({"opus"}), None, "comment", chapters="comments"),
    "mp3": Container("mp3", "mp3", "audio/mpeg", _NONE, frozenset({"mp3"}), None, "stream"),
    "flac": Container("flac", "flac", "audio/flac", _NONE, frozenset({"flac"}), None, "stream", chapters="comments"),
    "jpg": Container("jpg", "", "image/jpeg", _NONE, _NONE, chapters=None),
    "wav": Container("wav", "wav", "audio/wav", _NONE, frozenset({"pcm_s16le"}), chapters=None),
}

NATURAL = {"aac": "m4a", "alac": "m4a", "opus": "webm", "vorbis": "ogg", "mp3": "mp3", "flac": "flac"}
"""Codec of sound to the container it is at home in."""


def container(name: str) -> Container:
    """The container that clients call ``name``; raises MediaInvalid for one that is not known."""
    found = CONTAINERS.get(name.lower())
    if found is None:
        raise MediaInvalid(f"There is no container called {name[:20]!r}.")
    return found


def fitting(wanted: Container, video: str | None, audio: str | None) -> Container:
    """``wanted``, or the nearest container that can hold what the tracks turned out to be."""
    if wanted.holds(video, audio):
        return wanted
    if video is None:
        return CONTAINERS[NATURAL.get(audio or "", "mkv")]
    return CONTAINERS["mp4"] if CONTAINERS["mp4"].holds(video, audio) else CONTAINERS["mkv"]


def content_type(found: Container, *, picture: bool) -> str:
    """The media type of a file in this container; without picture it is one of audio."""
    return found.content_type if picture else found.content_type.replace("video/", "audio/")


def sniff(head: bytes) -> str | None:
    """The demuxer family by the first bytes of a file (1 KiB is plenty), None when it is none of ours."""
    if head[4:8] in (b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"mdat", b"free", b"skip", b"wide"):
        return "mp4"
    for magic, family in ((b"\x1a\x45\xdf\xa3", "webm"), (b"OggS", "ogg"), (b"FLV\x01", "flv")):
        if head.startswith(magic):
            return family
    if head[:1] == b"\x47" and head[188:189] in (b"\x47", b""):
        return "mpegts"
    if len(head) < 2 or head[0] != 0xFF:  # noqa: PLR2004 - the sync word of MPEG audio
        return None
    layer = head[1] & 0xF6
    return "aac" if layer == 0xF0 else "mp3" if layer & 0xE6 == 0xE2 else None  # noqa: PLR2004 - ADTS, layer III


def id3_size(head: bytes) -> int:
    """Bytes of the ID3v2 tag that ``head`` begins with (ID3v2.4, section 3.1), 0 without one."""
    if not head.startswith(b"ID3") or len(head) < _ID3_HEADER:
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return _ID3_HEADER + size
