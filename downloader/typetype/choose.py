"""The choice: from what a source offers and what a job asks for to the plan that fetch and mux follow. Pure."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import msgspec

from downloader.artifacts.names import file_name
from downloader.errors import NoStream
from downloader.handoff import Media, Plan, Track
from downloader.job import Options, Resolved
from downloader.typetype import extras
from downloader.typetype.offer import Offer, Stream
from downloader.typetype.pairs import Pair, choose_pair
from downloader.typetype.sound import Sound, choose_sound
from downloader.typetype.tracks import cover_track, expected_bytes, stream_track, subtitle_track
from downloader.typetype.wishes import settle

_KEPT_TWICE = 2.1  # times the tracks' bytes: the tracks, the output, and some room
_KEPT_ONCE = 1.1
_WAV_BYTES_PER_SECOND = 192_000  # 48 kHz, 16 bit, two channels
_WITH_COVER = frozenset({"mp4", "m4a", "mkv", "mp3", "flac", "ogg", "opus"})


@dataclass(frozen=True, slots=True)
class Source:
    """Where an offer comes from: the job's URL and TypeType-Server's base URL without a trailing slash."""

    url: str
    api_base: str


@dataclass(frozen=True, slots=True)
class _Ask:
    """One choice on its way: what is offered, what is asked, and what is to be said about the difference."""

    offer: Offer
    options: Options
    source: Source
    warnings: list[str]


def choose(offer: Offer, options: Options, source: Source) -> Plan:
    """The plan for ``options``; raises NoStream when nothing that is offered may serve.

    What an option could not deliver is said in the plan's warnings, one sentence each.
    """
    if options.mode == "thumbnail" or options.thumbnail_only:
        return _thumbnail_plan(offer, source)
    warnings: list[str] = []
    wish = settle(options, warnings)
    ask = _Ask(offer, options, source, warnings)
    if options.mode == "audio":
        sound = choose_sound(offer, options, wish, warnings)
        if sound is None:
            raise NoStream("The source offers no sound.")
        return _audio_plan(sound, ask)
    pair = choose_pair(offer, wish, warnings)
    if pair is not None:
        return _video_plan(pair, ask)
    if not wish.strict and offer.audios:
        return _sound_instead(ask)
    raise NoStream("The source offers no picture." if offer.audios else "The source offers no streams.")


def _sound_instead(ask: _Ask) -> Plan:
    """The plan for a video job whose source has only sound."""
    options = msgspec.structs.replace(ask.options, mode="audio", container=None, format=None)
    ask = _Ask(ask.offer, options, ask.source, ["The source offers no picture; its sound was taken."])
    sound = choose_sound(ask.offer, options, settle(options, ask.warnings), ask.warnings)
    if sound is None:
        raise NoStream("The source offers no streams.")
    return _audio_plan(sound, ask)


def _thumbnail_plan(offer: Offer, source: Source) -> Plan:
    if offer.thumbnail_url is None:
        raise NoStream("The source offers no thumbnail.")
    tracks = (cover_track(offer.thumbnail_url, source.api_base, optional=False),)
    resolved = Resolved(container="jpg", file_name=file_name(offer.title, "jpg"))
    media = Media(operation="image", container="jpg", title=offer.title, source_url=source.url)
    return _plan(tracks, media, resolved, offer, ())


def _video_plan(pair: Pair, ask: _Ask) -> Plan:
    video, audio, api_base, title = pair.video, pair.audio, ask.source.api_base, ask.offer.title
    key: Literal["video", "muxed"] = "muxed" if video.kind == "muxed" else "video"
    chosen = [stream_track(video, key, api_base)]
    if audio is not None:
        chosen.append(stream_track(audio, "audio", api_base))
    resolved = Resolved(
        video_itag=video.itag,
        audio_itag=audio.itag if audio else None,
        height=_known_height(video, ask.offer),
        fps=video.fps,
        video_codec=_codec_name(video, video.video_family),
        audio_codec=_codec_name(audio, audio.audio_family) if audio else video.audio_family,
        container=pair.container,
        bitrate=video.bitrate,
        file_name=file_name(title, pair.container),
    )
    media = partial(Media, operation="copy", container=pair.container)
    return _finish(chosen, media, resolved, ask)


def _audio_plan(sound: Sound, ask: _Ask) -> Plan:
    stream = sound.stream
    key: Literal["audio", "muxed"] = "muxed" if stream.kind == "muxed" else "audio"
    chosen = [stream_track(stream, key, ask.source.api_base, audio_only=True)]
    resolved = Resolved(
        audio_itag=stream.itag,
        audio_codec=sound.audio_codec or _codec_name(stream, stream.audio_family),
        container=sound.container,
        bitrate=sound.bitrate if sound.audio_codec else stream.bitrate,
        file_name=file_name(ask.offer.title, sound.container),
    )
    media = partial(
        Media,
        operation=sound.operation,
        container=sound.container,
        audio_codec=sound.audio_codec,
        bitrate=sound.bitrate,
    )
    return _finish(chosen, media, resolved, ask)


def _finish(chosen: list[Track], media: partial[Media], resolved: Resolved, ask: _Ask) -> Plan:
    """The plan with all that goes along: subtitles, cover, chapters, cuts, tags."""
    offer, options, warnings, api_base = ask.offer, ask.options, ask.warnings, ask.source.api_base
    subtitles = extras.choose_subtitles(offer, options, warnings)
    tracks = [*chosen, *(subtitle_track(item, number, api_base) for number, item in enumerate(subtitles))]
    if offer.thumbnail_url and resolved.container in _WITH_COVER:
        tracks.append(cover_track(offer.thumbnail_url, api_base, optional=True))
    embed = options.subtitles.embed and options.mode == "video"
    if subtitles and options.subtitles.embed and not embed:
        warnings.append("Sound alone holds no subtitles; they lie beside it.")
    made = media(
        title=offer.title,
        artist=offer.uploader,
        date=extras.date(offer.upload_date),
        description=offer.description,
        source_url=ask.source.url,
        duration_s=offer.duration or 0.0,
        subtitles=("embed" if embed else "sidecar") if subtitles else "none",
        subtitle_format=options.subtitles.format,
        chapters=extras.chapters(offer),
        cuts=extras.cuts(offer, options, warnings),
    )
    return _plan(tuple(tracks), made, resolved, offer, tuple(warnings))


def _plan(tracks: tuple[Track, ...], media: Media, resolved: Resolved, offer: Offer, warnings: tuple[str, ...]) -> Plan:
    expected = expected_bytes(tracks, offer)
    if media.container in ("wav", "flac"):
        output = int(_WAV_BYTES_PER_SECOND * (offer.duration or 0.0))
        reserve = int(_KEPT_ONCE * (expected + output))
    else:
        reserve = int(_KEPT_TWICE * expected)
    return Plan(
        tracks=tracks,
        media=media,
        resolved=resolved,
        title=offer.title,
        duration_ms=round(offer.duration * 1000) if offer.duration else None,
        reserve_bytes=reserve,
        warnings=warnings,
    )


def _codec_name(stream: Stream, known: str | None) -> str | None:
    """The codec as the source words it; of a muxed stream its family, since the wording names both."""
    return known if stream.kind == "muxed" else stream.codec or known


def _known_height(video: Stream, offer: Offer) -> int | None:
    """The height to show: a master playlist's is only the limit until a variant is chosen."""
    return None if video.url == offer.hls_url else video.height
