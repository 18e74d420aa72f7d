"""What is read out of a playlist's text, and what is refused before it costs anything."""

import m3u8
import pytest

from downloader.errors import MediaTooLarge, SourceInvalid
from downloader.fetch import playlist
from downloader.fetch.playlist import Playlist
from tests.fetch.conftest import Bench
from tests.fetch.test_hls import END, HEAD, hls, serve
from tests.origin import Origin

URL = "http://h/a/b.m3u8"
ONE = "#EXTINF:4,\n0.ts\n"


def segments(text: str) -> list[str]:
    found = playlist.read(HEAD + text + END, URL)
    assert isinstance(found, Playlist)
    return [segment.url for segment in found.segments]


TOO_LONG = {
    "lines": "\n" * 400_001,
    "segments": ONE * 50_001,
    "keys": "".join(f'#EXT-X-KEY:METHOD=AES-128,URI="{number}"\n{ONE}' for number in range(2001)),
    "initializations": "".join(f'#EXT-X-MAP:URI="{number}"\n{ONE}' for number in range(2001)),
    "few keys, many segments": "".join(f'#EXT-X-KEY:METHOD=AES-128,URI="{number}"\n' for number in range(100))
    + ONE * 40_001,
    "variants": "#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n" * 1001,
    "sounds": '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="a"\n' * 1001,
}


@pytest.mark.parametrize("what", TOO_LONG)
def test_what_would_take_long_is_not_read(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(m3u8, "loads", None)
    with pytest.raises(SourceInvalid, match="too long"):
        segments(TOO_LONG[what])


def test_a_key_for_each_segment_of_a_film_is_not_too_many() -> None:
    text = "".join(f'#EXT-X-KEY:METHOD=AES-128,URI="{number}"\n{ONE}' for number in range(1800))
    assert len(segments(text)) == 1800


def test_a_key_that_comes_again_and_again_is_one() -> None:
    assert len(segments(f'#EXT-X-KEY:METHOD=AES-128,URI="k"\n{ONE}' * 2500)) == 2500


@pytest.mark.parametrize("duration", ["1e308", "inf", "nan"])
def test_absurd_durations_do_no_harm(duration: str) -> None:
    text = f"#EXT-X-PROGRAM-DATE-TIME:2020-01-01T00:00:00Z\n#EXTINF:{duration},\na.ts\n#EXTINF:1,\nb.ts\n"
    assert segments(text) == ["http://h/a/a.ts", "http://h/a/b.ts"]


@pytest.mark.parametrize("line", ["#EXTINF:x,", "#EXT-X-MEDIA-SEQUENCE:x", "#EXT-X-KEY:METHOD", "#EXT-X-MAP:URI"])
def test_tags_that_cannot_be_read(line: str) -> None:
    with pytest.raises(SourceInvalid):
        segments(f"{line}\n{ONE}")


def test_absurd_byte_ranges_are_too_large_at_once(origin: Origin, bench: Bench) -> None:
    text = f"#EXTINF:4,\n#EXT-X-BYTERANGE:{10**30}@0\na.mp4\n#EXTINF:4,\n#EXT-X-BYTERANGE:9\na.mp4\n"
    with pytest.raises(MediaTooLarge):
        bench.fetch(hls(serve(origin, "/a.m3u8", HEAD + text + END)))
    assert (origin.count(), bench.left()) == (1, [])
