"""What a job's options come to before a source is looked at: one container, one height limit, codecs by family."""

import re
from dataclasses import dataclass

from downloader.job import Options
from downloader.typetype.codecs import COPYABLE, NATURAL_AUDIO_CONTAINER, family

DEFAULT_HEIGHT = 1080
_HEIGHT_OF_WORD = {"balanced": 720, "small": 360}
_NO_LIMIT = 1 << 30

_VIDEO_CONTAINERS = {"mp4": "mp4", "m4v": "mp4", "webm": "webm", "mkv": "mkv", "matroska": "mkv"}
_AUDIO_CONTAINERS = {
    "m4a": "m4a",
    "mp4": "m4a",
    "aac": "m4a",
    "webm": "webm",
    "weba": "webm",
    "ogg": "ogg",
    "oga": "ogg",
    "opus": "opus",
    "mp3": "mp3",
    "flac": "flac",
    "wav": "wav",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The options, settled. ``*_named``: the client asked for it by name, it is not a default.

    ``height`` is the most that is wanted, in pixels; ``audio_bitrate`` in bits per second. Codecs are families.
    """

    container: str
    container_named: bool
    height: int
    height_named: bool
    fps: int | None
    video_itag: int | None
    audio_itag: int | None
    video_codec: str | None
    audio_codec: str | None
    audio_bitrate: int | None
    strict: bool

    @property
    def default_video(self) -> str | None:
        """The picture's family that ``container`` is made of when no codec is named; None when any will do."""
        return {"mp4": "h264", "webm": "vp9"}.get(self.container)

    @property
    def default_audio(self) -> str | None:
        """The sound's family that ``container`` is made of when no codec is named; None when any will do."""
        return {"mp4": "aac", "webm": "opus", "m4a": "aac", "ogg": "opus", "opus": "opus", "mp3": "mp3"}.get(
            self.container
        )


def settle(options: Options, warnings: list[str]) -> Wish:
    """The wish in ``options``; what cannot be taken as meant is said in ``warnings``."""
    audio = options.mode == "audio"
    named = _container(options, _AUDIO_CONTAINERS if audio else _VIDEO_CONTAINERS, warnings)
    video_codec, audio_codec = _codec(options.video_codec, warnings), _codec(options.audio_codec, warnings)
    height, height_named = _height(options)
    return Wish(
        container=named or (_audio_default(audio_codec) if audio else _video_default(video_codec)),
        container_named=named is not None,
        height=height,
        height_named=height_named,
        fps=options.fps,
        video_itag=options.video_itag,
        audio_itag=options.audio_itag,
        video_codec=video_codec,
        audio_codec=audio_codec,
        audio_bitrate=options.bitrate,
        strict=not options.allow_quality_fallback,
    )


def _container(options: Options, known: dict[str, str], warnings: list[str]) -> str | None:
    """The first of container and format that names one of the ``known``, or None when neither is given."""
    given = [word.strip().lower().removeprefix(".") for word in (options.container, options.format) if word]
    for word in given:
        if word in known:
            return known[word]
    if given:
        what = "sound" if options.mode == "audio" else "video"
        warnings.append(f"A {given[0][:20]!r} container cannot be made of {what}; the usual one was made instead.")
    return None


def _codec(name: str | None, warnings: list[str]) -> str | None:
    found = family(name)
    if name and found is None:
        warnings.append(f"The codec {name[:20]!r} is not known and was ignored.")
    return found


def _video_default(codec: str | None) -> str:
    """mp4, unless the codec that was named does not go into it."""
    return next((name for name in ("mp4", "webm") if codec is None or codec in COPYABLE[name]), "mkv")


def _audio_default(codec: str | None) -> str:
    return NATURAL_AUDIO_CONTAINER.get(codec or "aac", "m4a")


def _height(options: Options) -> tuple[int, bool]:
    """The height limit in pixels, and whether a number was named for it."""
    if options.height:
        return options.height, True
    word = (options.quality or "").strip().lower()
    number = re.fullmatch(r"(\d{2,5})p?\d{0,3}", word)
    if number:
        return int(number[1]), True
    if word == "best":
        return _NO_LIMIT, False
    return _HEIGHT_OF_WORD.get(word, DEFAULT_HEIGHT), False
