"""Offers in few words, for the tests of the choice."""

from typing import Any

from downloader.typetype.offer import Offer, Stream, Subtitle

API = "http://api.test"
FAMILIES = {"avc1.64001F": "h264", "vp9": "vp9", "av01.0.08M.08": "av1", "hvc1.1.6": "h265"}
SOUNDS = {"mp4a.40.2": "aac", "opus": "opus", "mp3": "mp3", "flac": "flac", "ac-3": "ac3"}


def video(itag: int, height: int | None, codec: str | None = "avc1.64001F", **more: Any) -> Stream:
    given = {"transport": "ranges", "url": f"https://m.test/v{itag}", "size": 1_000_000, "bitrate": 1_000_000} | more
    return Stream(
        kind="video",
        itag=itag,
        height=height,
        codec=codec,
        video_family=FAMILIES.get(codec or ""),
        format="webm" if codec == "vp9" else "mp4",
        **given,
    )


def audio(itag: int, codec: str | None = "mp4a.40.2", bitrate: int | None = 128_000, **more: Any) -> Stream:
    given = {"transport": "ranges", "url": f"https://m.test/a{itag}", "size": 100_000} | more
    return Stream(
        kind="audio",
        itag=itag,
        codec=codec,
        bitrate=bitrate,
        audio_family=SOUNDS.get(codec or ""),
        format={"opus": "webm", "mp3": "mp3"}.get(codec or "", "mp4"),
        **given,
    )


def muxed(itag: int, height: int, **more: Any) -> Stream:
    given = {"transport": "ranges", "url": f"https://m.test/m{itag}", "size": 900_000} | more
    return Stream(
        kind="muxed",
        itag=itag,
        height=height,
        codec="avc1.42001E, mp4a.40.2",
        video_family="h264",
        audio_family="aac",
        format="mp4",
        **given,
    )


def subtitle(language: str, *, auto: bool = False) -> Subtitle:
    return Subtitle(url=f"https://m.test/{language}{auto}.vtt", language=language, auto_generated=auto)


def youtube(**more: Any) -> Offer:
    """What a common source offers: three heights, each in h264, vp9 and av1, and two sounds."""
    given: dict[str, Any] = {
        "title": "A title",
        "duration": 100.0,
        "videos": (
            video(134, 360),
            video(136, 720),
            video(137, 1080),
            video(243, 360, "vp9"),
            video(248, 1080, "vp9"),
            video(313, 2160, "vp9"),
            video(399, 1080, "av01.0.08M.08"),
            video(401, 2160, "av01.0.08M.08"),
        ),
        "audios": (audio(139, bitrate=48_000), audio(140), audio(249, "opus", 50_000), audio(251, "opus", 160_000)),
        "muxed": (muxed(18, 360), muxed(22, 720)),
    }
    return Offer(**(given | more))
