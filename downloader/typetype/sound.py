"""Choosing for an audio job: which sound, and whether it is copied or converted."""

from dataclasses import dataclass, replace
from typing import Literal

from downloader.job import Options
from downloader.typetype.codecs import COPYABLE, NATURAL_AUDIO_CONTAINER, TRANSCODE_CODEC
from downloader.typetype.offer import Offer, Stream
from downloader.typetype.pairs import best_audio
from downloader.typetype.wishes import Wish

_FAMILY_OF_FORMAT = {"mp4": "aac", "webm": "opus", "ogg": "opus", "mp3": "mp3", "mpegts": "aac", "flv": "aac"}
_CONVERTED = frozenset({"mp3", "flac", "wav"})
"""Asked for by name, these are made from whatever sound is best."""


@dataclass(frozen=True, slots=True)
class Sound:
    """The stream taken (muxed when the source offers no sound alone) and what becomes of it.

    ``audio_codec`` and ``bitrate`` (bits per second) are set when it is converted.
    """

    stream: Stream
    operation: Literal["copy", "transcode"]
    container: str
    audio_codec: str | None = None
    bitrate: int | None = None


def choose_sound(offer: Offer, options: Options, wish: Wish, warnings: list[str]) -> Sound | None:
    """The best sound for ``wish``, or None when the source has none. Raises NoStream as choose_pair does."""
    pool = _pool(offer)
    if not pool:
        return None
    converted = wish.container in _CONVERTED and wish.container_named
    if options.audio_passthrough:
        wish = replace(wish, container="mkv")  # no codec of its own: any is as good
    if converted:
        # The wish's bitrate is the output's: the source is the best there is.
        stream = best_audio(pool, offer, replace(wish, audio_bitrate=None), warnings)
    else:
        stream = best_audio(pool, offer, wish, warnings)
    found = _family(stream)
    if options.audio_passthrough:
        return Sound(stream, "copy", natural_container(stream))
    if found in COPYABLE[wish.container] and not _must_shrink(stream, wish, converted=converted):
        return Sound(stream, "copy", wish.container)
    if not wish.container_named:
        return Sound(stream, "copy", natural_container(stream))
    if not converted:
        warnings.append(f"No {TRANSCODE_CODEC[wish.container]} sound is offered; it was converted from {found}.")
    return Sound(stream, "transcode", wish.container, TRANSCODE_CODEC[wish.container], options.bitrate)


def natural_container(stream: Stream) -> str:
    """Where the stream's sound lives as it is."""
    found = _family(stream)
    if found == "opus" and stream.format == "ogg":
        return "ogg"
    return NATURAL_AUDIO_CONTAINER[found]


def _family(stream: Stream) -> str:
    """The family of the stream's sound; where nothing tells, AAC, which is what playlists carry."""
    return stream.audio_family or _FAMILY_OF_FORMAT.get(stream.format or "", "aac")


def _pool(offer: Offer) -> list[Stream]:
    """Sound alone; else streams that have sound beside a picture; else the playlist."""
    if offer.audios:
        return list(offer.audios)
    if offer.muxed:
        return list(offer.muxed)
    return [Stream(kind="muxed", transport="hls", url=offer.hls_url)] if offer.hls_url else []


def _must_shrink(stream: Stream, wish: Wish, *, converted: bool) -> bool:
    return converted and bool(wish.audio_bitrate and stream.bitrate and stream.bitrate > wish.audio_bitrate)
