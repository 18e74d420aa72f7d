"""Choosing for a video job: a picture and its sound, or a stream that has both, and the container they go into."""

from dataclasses import dataclass, replace

from downloader.errors import NoStream
from downloader.typetype.codecs import COPYABLE
from downloader.typetype.offer import Offer, Stream
from downloader.typetype.rank import audio_key, fall_back, fits, matches, video_key, without_hls
from downloader.typetype.wishes import Wish


@dataclass(frozen=True, slots=True)
class Pair:
    """The streams taken and the container they go into. ``audio`` is None beside a muxed or a silent ``video``."""

    video: Stream
    audio: Stream | None
    container: str


def choose_pair(offer: Offer, wish: Wish, warnings: list[str]) -> Pair | None:
    """The best pair for ``wish``, or None when the source offers no picture.

    Raises NoStream when a fallback is needed that the wish does not allow. What differs from what was asked for by
    name is said in ``warnings``.
    """
    named = _by_video_itag(offer, wish, warnings)
    if named is not None:
        return _with_audio(named, offer, wish, warnings)
    pictures = [stream for stream in offer.videos if stream.transport != "hls"]
    sounds = [stream for stream in offer.audios if stream.transport != "hls"]
    if pictures and sounds:
        return _with_audio(_best_video(pictures, wish, warnings), offer, wish, warnings)
    whole = [stream for stream in offer.muxed if stream.transport != "hls"]
    if whole:
        return _with_audio(_best_video(whole, wish, warnings), offer, wish, warnings)
    if offer.videos and offer.audios:
        return _with_audio(_best_video(list(offer.videos), wish, warnings), offer, wish, warnings)
    playlists = list(offer.muxed) or _master_playlist(offer, wish)
    rest = playlists or list(offer.videos)
    return _with_audio(_best_video(rest, wish, warnings), offer, wish, warnings) if rest else None


def _master_playlist(offer: Offer, wish: Wish) -> list[Stream]:
    """The source's HLS playlist as a stream; its height is the limit by which fetch chooses a variant."""
    if offer.hls_url is None:
        return []
    return [Stream(kind="muxed", transport="hls", url=offer.hls_url, height=wish.height)]


def _by_video_itag(offer: Offer, wish: Wish, warnings: list[str]) -> Stream | None:
    if wish.video_itag is None:
        return None
    found = [stream for stream in (*offer.videos, *offer.muxed) if stream.itag == wish.video_itag]
    if found:
        return min(found, key=lambda stream: video_key(stream, wish))
    fall_back(f"Video itag {wish.video_itag} is not offered.", strict=wish.strict, warnings=warnings)
    return None


def _best_video(pool: list[Stream], wish: Wish, warnings: list[str]) -> Stream:
    """The best of ``pool`` (not empty): the container first, then the height limit, then the codec, then the rank."""
    fitting = [stream for stream in pool if fits(stream, wish.container)]
    if not fitting and wish.strict and wish.container_named:
        raise NoStream(f"No stream of this source goes into {wish.container} as it is.")
    pool = _within_height(fitting or pool, wish, warnings)
    if wish.video_codec:
        matching = [stream for stream in pool if matches(stream.video_family, wish.video_codec)]
        if not matching:
            missing = f"No picture in {wish.video_codec} is offered within the limits asked for."
            fall_back(missing, strict=wish.strict, warnings=warnings)
            wish = replace(wish, video_codec=None)
        pool = matching or pool
    best = min(pool, key=lambda stream: video_key(stream, wish))
    tallest = max(pool, key=lambda stream: stream.height or 0)
    if wish.height_named and best.height and (tallest.height or 0) > best.height:
        warnings.append(
            f"{tallest.height}p is offered in {tallest.video_family} only; "
            f"{best.video_family} at {best.height}p was taken."
        )
    if wish.fps and best.fps and abs(best.fps - wish.fps) > 1:  # 29.97 goes as 29 or 30
        warnings.append(f"Not offered at {wish.fps} frames a second; {best.fps} were taken.")
    return best


def _within_height(pool: list[Stream], wish: Wish, warnings: list[str]) -> list[Stream]:
    kept = [stream for stream in pool if stream.height is None or stream.height <= wish.height]
    if kept:
        return kept
    lowest = min(stream.height or 0 for stream in pool)
    missing = f"Nothing of {wish.height}p or less is offered; the lowest is {lowest}p."
    fall_back(missing, strict=wish.strict and wish.height_named, warnings=warnings)
    return [stream for stream in pool if stream.height == lowest]


def _with_audio(video: Stream, offer: Offer, wish: Wish, warnings: list[str]) -> Pair:
    """``video`` with the sound that goes with it, in a container that holds both."""
    if video.kind == "muxed":
        _refuse_other_sound(video, wish, warnings)
        return Pair(video, None, _container(video, None, wish, warnings))
    if not offer.audios:
        warnings.append("The source offers no sound; the video is silent.")
        return Pair(video, None, _container(video, None, wish, warnings))
    base = wish
    if video.transport == "sabr" and wish.container == "webm":
        # SABR's pairs are made for mp4.
        wish = replace(wish, container="mp4")
    elif not fits(video, wish.container):
        wish = replace(wish, container=_container(video, None, wish, []))
    audio = best_audio(list(offer.audios), offer, wish, warnings, beside=video)
    container = _container(video, audio, wish, [])
    if container != base.container and base.container_named:
        warnings.append(f"What was chosen does not go into {base.container}; {container} was made instead.")
    return Pair(video, audio, container)


def _refuse_other_sound(video: Stream, wish: Wish, warnings: list[str]) -> None:
    """A muxed stream brings its own sound: a sound asked for by name beside it is not to be had."""
    wanted = wish.audio_codec
    if wish.audio_itag is not None and wish.audio_itag != video.itag:
        missing = f"Audio itag {wish.audio_itag} cannot be taken beside a stream that has its own sound."
    elif wanted and not matches(video.audio_family, wanted):
        missing = f"No sound in {wanted} is offered."
    else:
        return
    fall_back(missing, strict=wish.strict, warnings=warnings)


def best_audio(
    pool: list[Stream], offer: Offer, wish: Wish, warnings: list[str], *, beside: Stream | None = None
) -> Stream:
    """The best sound of ``pool`` (not empty) for ``wish``; raises NoStream as choose_pair does."""
    if wish.audio_itag is not None:
        named = [stream for stream in pool if stream.itag == wish.audio_itag]
        if named:
            return min(named, key=lambda stream: audio_key(stream, wish, offer, beside=beside))
        fall_back(f"Audio itag {wish.audio_itag} is not offered.", strict=wish.strict, warnings=warnings)
    pool = without_hls(pool)
    if beside is not None and beside.transport == "sabr":
        # Both come over one stream of the server's.
        pool = [stream for stream in pool if stream.transport == "sabr"] or pool
    matching = [stream for stream in pool if matches(stream.audio_family, wish.audio_codec)]
    if not matching:
        fall_back(f"No sound in {wish.audio_codec} is offered.", strict=wish.strict, warnings=warnings)
        wish = replace(wish, audio_codec=None)
    pool = matching or pool
    if beside is not None and wish.audio_codec is None:
        pool = [stream for stream in pool if fits(stream, wish.container)] or pool
        if beside.transport == "sabr":
            pool = [stream for stream in pool if stream.audio_family == wish.default_audio] or pool
    best = min(pool, key=lambda stream: audio_key(stream, wish, offer, beside=beside))
    if wish.audio_bitrate and best.bitrate and best.bitrate > wish.audio_bitrate:
        warnings.append(f"No sound at or below {wish.audio_bitrate // 1000} kbit/s is offered; the best was taken.")
    return best


def _container(video: Stream, audio: Stream | None, wish: Wish, warnings: list[str]) -> str:
    """The container wished for, or the first that holds both streams as they are."""
    streams = [stream for stream in (video, audio) if stream is not None]
    found = next(
        (name for name in (wish.container, "mp4", "webm") if all(fits(stream, name) for stream in streams)), "mkv"
    )
    if found != wish.container and wish.container_named and wish.container in COPYABLE:
        warnings.append(f"What was chosen does not go into {wish.container}; {found} was made instead.")
    return found
