"""A fresh link for a track whose own has expired."""

from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec

from downloader.clock import SystemClock
from downloader.config import Settings
from downloader.handoff import Track
from downloader.job import Job
from downloader.typetype.client import Client
from downloader.typetype.offer import Offer, Stream
from downloader.typetype.tracks import proxy_url


def refresh_track(
    settings: Settings, job: Job, track: Track, authorization: str | None, check: Callable[[], None]
) -> Track | None:
    """``track`` with a fresh URL (and size) for the same object, or None when nothing equal is offered any more.

    Raises what Client.streams raises.
    """
    client = Client(settings.typetype_api_base, SystemClock())
    try:
        offer = client.streams(job.url, authorization=authorization, request_id=job.request_id, check=check)
    finally:
        client.close()
    return equal_track(track, offer, settings.typetype_api_base)


def equal_track(track: Track, offer: Offer, api_base: str) -> Track | None:
    """The part of ``offer`` that is the same object as ``track``, as that track."""
    if track.kind == "subtitle":
        found = [item.url for item in offer.subtitles if _same_subtitle(track, item.language, item.auto_generated)]
        return _moved(track, found[0], track.size, api_base) if found else None
    if track.kind == "image":
        return _moved(track, offer.thumbnail_url, track.size, api_base) if offer.thumbnail_url else None
    streams = {"video": offer.videos, "audio": offer.audios, "muxed": offer.muxed}[track.kind]
    same = [stream for stream in streams if _same_stream(track, stream)]
    if same:
        best = min(same, key=lambda stream: stream.url)
        return _moved(track, best.url, best.size, api_base)
    if track.transport == "hls" and track.kind == "muxed" and track.itag is None and offer.hls_url:
        return _moved(track, offer.hls_url, None, api_base)
    return None


def _same_stream(track: Track, stream: Stream) -> bool:
    """The same itag, language track, transport and size; without an itag the path of the URL must be the same too."""
    if (stream.itag, stream.track_id, stream.transport) != (track.itag, track.audio_track_id, track.transport):
        return False
    if track.size is not None and stream.size is not None and stream.size != track.size:
        return False
    return track.itag is not None or urlsplit(stream.url).path == urlsplit(track.url).path


def _same_subtitle(track: Track, language: str, auto_generated: bool) -> bool:  # noqa: FBT001 - one of the two keys
    return (language, auto_generated) == (track.language, track.auto_generated)


def _moved(track: Track, url: str, size: int | None, api_base: str) -> Track:
    proxied = proxy_url(url, api_base) if track.transport == "ranges" else None
    return msgspec.structs.replace(track, url=url, proxy_url=proxied, size=size or track.size)
