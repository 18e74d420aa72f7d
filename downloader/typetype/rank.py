"""The order of streams: which of two is the better answer to a wish. Every order is total, so the choice is stable."""

from collections.abc import Iterable

from downloader.errors import NoStream
from downloader.typetype.codecs import COPYABLE
from downloader.typetype.offer import Offer, Stream
from downloader.typetype.wishes import Wish

Key = tuple[float | str, ...]
_TRANSPORT_ORDER = {"ranges": 0, "sabr": 1, "hls": 2}


def fits(stream: Stream, container: str) -> bool:
    """True when ``container`` takes the stream as it is, as far as its codecs are known."""
    known = [name for name in (stream.video_family, stream.audio_family) if name]
    return all(name in COPYABLE[container] for name in known)


def video_key(stream: Stream, wish: Wish) -> Key:
    """Lower is better: the container's own codec, height, nearness to the frame rate asked for, bitrate."""
    return (
        _codec_distance(stream, stream.video_family, wish.video_codec or wish.default_video, wish.container),
        -(stream.height or 0),
        _fps_distance(stream.fps, wish.fps),
        -(stream.bitrate or 0),
        *_last_words(stream),
    )


def audio_key(stream: Stream, wish: Wish, offer: Offer, *, beside: Stream | None = None) -> Key:
    """Lower is better: the right language track, the container's own codec, bitrate, the transport of ``beside``."""
    return (
        _track_distance(stream, offer),
        _codec_distance(stream, stream.audio_family, wish.audio_codec or wish.default_audio, wish.container),
        *_bitrate_distance(stream.bitrate, wish.audio_bitrate),
        int(beside is not None and stream.transport != beside.transport),
        *_last_words(stream),
    )


def fall_back(missing: str, *, strict: bool, warnings: list[str]) -> None:
    """Say what is ``missing`` before something else is taken; raises NoStream with it where nothing else will do."""
    if strict:
        raise NoStream(missing)
    warnings.append(missing)


def matches(found: str | None, wanted: str | None) -> bool:
    """True when the family fits what is wanted, or one of the two is unknown."""
    return found is None or wanted is None or found == wanted


def without_hls(streams: Iterable[Stream]) -> list[Stream]:
    """The streams of byte ranges and SABR, or all when there are only playlists."""
    every = list(streams)
    return [stream for stream in every if stream.transport != "hls"] or every


def _codec_distance(stream: Stream, found: str | None, wanted: str | None, container: str) -> int:
    """0 for the codec that is wanted; an unknown one counts as it when its bytes come in the right container."""
    if wanted is None:
        return 0
    if found is None:
        home = "mp4" if container == "m4a" else container
        return 0 if stream.format in (None, home) else 1
    return 0 if found == wanted else 1


def _fps_distance(fps: int | None, wanted: int | None) -> int:
    if wanted is None:
        return -(fps or 0)
    return abs((fps or 0) - wanted)


def _bitrate_distance(bitrate: int | None, wanted: int | None) -> tuple[int, int]:
    """The nearest at or below the wish; without a wish, or with nothing below, the highest."""
    rate = bitrate or 0
    if wanted is None:
        return 0, -rate
    if bitrate is not None and bitrate <= wanted:
        return 0, wanted - bitrate
    return 1, -rate


def _track_distance(stream: Stream, offer: Offer) -> int:
    """The track that the server prefers, then the original, then one that says nothing, then translations."""
    if stream.track_id and stream.track_id == offer.preferred_track_id:
        return 0
    if stream.is_original or (stream.track_id and stream.track_id == offer.original_track_id):
        return 1
    return 2 if stream.track_id is None else 3


def _last_words(stream: Stream) -> tuple[float | str, ...]:
    """What settles a tie, so that the order of the server's lists never does."""
    return (
        _TRANSPORT_ORDER[stream.transport],
        int(stream.size is None),
        -(stream.size or 0),
        stream.itag or 0,
        stream.track_id or "",
        stream.codec or "",
        stream.url,
    )
