"""What each source offers: TypeType-Server's answers, made of the stand-in's real files.

The source is named by ``v`` in the URL that is resolved, as in ``https://example.test/watch?v=small``; anything else in
the query is ignored, so that benchmarks can make as many different URLs of one source as they like.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.standin.media import DURATIONS, media_file

Answer = dict[str, Any]

REFUSALS: dict[str, tuple[int, str]] = {
    "forbidden": (403, "This video is private."),
    "signin": (401, "Sign in to confirm your age."),
    "missing": (404, "This video does not exist."),
    "unsupported": (422, "This site is not supported."),
}
SUBTITLES = "WEBVTT\n\n00:00.000 --> 00:02.000\nThe first line.\n\n00:02.500 --> 00:04.000\nThe second line.\n"


def source_name(url: str) -> str:
    """The name in a source's URL: its ``v``, else the last part of its path."""
    split = urlsplit(url)
    return parse_qs(split.query).get("v", [split.path.rpartition("/")[2]])[0]


class Offers:
    """Answers for sources, with URLs below ``base``. Files are made in ``folder`` on first use; answers are kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[tuple[str, str], bytes | None] = {}
        self._made: dict[str, Callable[[str], Answer]] = {
            "demo": self._demo,
            "small": self._small,
            "short": self._short,
            "big": self._big,
            "dual": self._dual,
            "webm": self._webm,
            "whole": self._whole,
            "sound": self._sound,
            "mp3": self._mp3,
            "sabr": self._sabr,
            "hls": lambda base: self._playlist(base, "fmp4"),
            "hls-ts": lambda base: self._playlist(base, "ts"),
            "hls-master": lambda base: self._playlist(base, "master"),
            "hls-split": lambda base: self._playlist(base, "split"),
            "lengthless": self._lengthless,
            "refused": self._refused,
            "picture": self._picture,
            "silent": self._silent,
            "empty": lambda _base: {"title": "Nothing", "videoStreams": []},
            "wild": lambda _base: {"title": ["a", "list"], "videoStreams": {"not": "a list"}},
            "long": lambda base: self._short(base) | {"title": "x" * 1_000_000},
        }

    def body(self, name: str, base: str) -> bytes | None:
        """The answer's JSON for the source ``name``, None when there is no such source."""
        key = name, base
        if key not in self._kept:
            make = self._made.get(name)
            self._kept[key] = json.dumps(make(base)).encode() if make else None
        return self._kept[key]

    def _demo(self, base: str) -> Answer:
        return self._pair(base, "demo", "Sixty seconds of a moving gradient", 60.0) | {
            "uploaderName": "The stand-in",
            "uploadDate": "2026-01-02",
            "description": "Made for the demo.\nReal H.264 and AAC.",
            "thumbnailUrl": f"{base}/media/cover.jpg",
            "videoOnlyStreams": [self.video(base, "demo.mp4", 136, 720), self.video(base, "demo-360.mp4", 134, 360)],
            "subtitles": [
                self.subtitle(base, "en-US", "English", auto=False),
                self.subtitle(base, "de", "Deutsch", auto=False),
                self.subtitle(base, "fr", "Français", auto=True),
            ],
            "streamSegments": [
                {"title": "Beginning", "startTimeSeconds": 0},
                {"title": "Middle", "startTimeSeconds": 20},
                {"title": "End", "startTimeSeconds": 40},
            ],
            "sponsorBlockSegments": [
                {"startTime": 10.0, "endTime": 15.0, "category": "sponsor", "action": "skip"},
                {"startTime": 30.0, "endTime": 31.0, "category": "intro", "action": "skip"},
                {"startTime": 50.0, "endTime": 51.0, "category": "sponsor", "action": "mute"},
            ],
        }

    def _small(self, base: str) -> Answer:
        return self._pair(base, "small", "A small one", DURATIONS["small"])

    def _short(self, base: str) -> Answer:
        return self._pair(base, "short", "A short one", DURATIONS["short"])

    def _big(self, base: str) -> Answer:
        return self._pair(base, "big", "A big one", DURATIONS["big"])

    def _dual(self, base: str) -> Answer:
        german = {"audioTrackId": "de.3", "audioLocale": "de", "audioTrackName": "Deutsch", "isOriginal": False}
        english = {"audioTrackId": "en.4", "audioLocale": "en", "audioTrackName": "English", "isOriginal": True}
        return self._short(base) | {
            "audioStreams": [self.audio(base, "short.m4a", 140) | german, self.audio(base, "short.m4a", 140) | english],
            "originalAudioTrackId": "en.4",
            "preferredDefaultAudioTrackId": "de.3",
        }

    def _webm(self, base: str) -> Answer:
        video = self.video(base, "short.webm", 243, 360) | {"codec": "vp9", "mimeType": "video/webm", "format": "WEBM"}
        audio = self.audio(base, "short-opus.webm", 251) | {"codec": "opus", "mimeType": "audio/webm"}
        return self._answer("A webm", 5.0) | {"videoOnlyStreams": [video], "audioStreams": [audio]}

    def _whole(self, base: str) -> Answer:
        stream = self.video(base, "whole.mp4", 18, 360) | {"codec": "avc1.42001E, mp4a.40.2", "isVideoOnly": False}
        return self._answer("Picture and sound in one", 10.0) | {"videoStreams": [stream]}

    def _sound(self, base: str) -> Answer:
        opus = self.audio(base, "short-opus.webm", 251) | {"codec": "opus", "mimeType": "audio/webm"}
        return self._answer("Sound alone", 5.0) | {"audioStreams": [self.audio(base, "short.m4a", 140), opus]}

    def _mp3(self, base: str) -> Answer:
        audio = self.audio(base, "short.mp3", 0) | {"codec": "mp3", "mimeType": "audio/mpeg"}
        return self._answer("Sound in mp3", 5.0) | {"audioStreams": [audio]}

    def _sabr(self, base: str) -> Answer:
        found = self._pair(base, "demo", "Streamed by the server", 60.0)
        for stream in (*found["videoOnlyStreams"], *found["audioStreams"]):
            stream |= {"url": "", "deliveryMethod": "sabr", "manifestUrl": "/sabr/manifest/demo"}
        return found

    def _playlist(self, base: str, kind: str) -> Answer:
        media_file(self._folder, "playlist.ts" if kind == "ts" else "playlist.mp4")
        return self._answer("A playlist", 10.0) | {"hlsUrl": f"{base}/hls/{kind}.m3u8"}

    def _lengthless(self, base: str) -> Answer:
        found = self._short(base)
        for stream in (*found["videoOnlyStreams"], *found["audioStreams"]):
            stream["contentLength"] = -1
        return found

    def _refused(self, base: str) -> Answer:
        """Direct URLs answer 403; the proxy serves them."""
        found = self._short(base)
        for stream in (*found["videoOnlyStreams"], *found["audioStreams"]):
            stream["url"] = stream["url"].replace("/media/", "/refused/")
        return found

    def _picture(self, base: str) -> Answer:
        return self._answer("A picture", 0) | {"thumbnailUrl": f"{base}/media/cover.webp"}

    def _silent(self, base: str) -> Answer:
        return self._answer("Without sound", 5.0) | {"videoOnlyStreams": [self.video(base, "short.mp4", 134, 360)]}

    def _pair(self, base: str, name: str, title: str, seconds: float) -> Answer:
        streams = {
            "videoOnlyStreams": [self.video(base, f"{name}.mp4", 136, 360 if name == "short" else 720)],
            "audioStreams": [self.audio(base, f"{name}.m4a", 140)],
        }
        return self._answer(title, seconds) | streams

    def _answer(self, title: str, seconds: float) -> Answer:
        return {"id": title.replace(" ", "-"), "title": title, "duration": seconds, "videoStreams": None}

    def video(self, base: str, name: str, itag: int, height: int) -> Answer:
        """A stream of picture alone, as the server words it."""
        return {
            **self._stream(base, name, itag),
            "mimeType": "video/mp4",
            "format": "MPEG_4",
            "codec": "avc1.64001F",
            "isVideoOnly": True,
            "resolution": f"{height}p",
            "height": height,
            "width": height * 16 // 9,
            "fps": 25 if name in ("small.mp4", "big.mp4") else 10,
        }

    def audio(self, base: str, name: str, itag: int) -> Answer:
        """A stream of sound alone, as the server words it."""
        return {**self._stream(base, name, itag), "mimeType": "audio/mp4", "format": "M4A", "codec": "mp4a.40.2"}

    def subtitle(self, base: str, language: str, name: str, *, auto: bool) -> Answer:
        """A subtitle file, as the server words it."""
        url = f"{base}/subtitles/{language}.vtt"
        return {
            "url": url,
            "mimeType": "text/vtt",
            "languageTag": language,
            "displayLanguageName": name,
            "isAutoGenerated": auto,
        }

    def _stream(self, base: str, name: str, itag: int) -> Answer:
        size = media_file(self._folder, name).stat().st_size
        seconds = DURATIONS[name.partition(".")[0].partition("-")[0]]
        return {
            "url": f"{base}/media/{name}",
            "itag": itag,
            "bitrate": round(size * 8 / seconds),
            "contentLength": size,
            "deliveryMethod": "progressive",
        }
