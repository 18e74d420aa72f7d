"""What is read out of a playlist's text, and what is refused before it costs anything."""

import m3u8
import pytest

from downloader.errors import MediaTooLarge, SourceInvalid
from downloader.fetch import playlist
from downloader.fetch.playlist import Master, Playlist
from tests.fetch.conftest import Bench
from tests.fetch.test_hls import END, HEAD, hls, serve
from tests.origin import Call, Origin, media_bytes

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


def test_what_the_host_lacks_is_left_out() -> None:
    gap = "#EXT-X-GAP\n#EXTINF:4,\ngap.ts\n"
    assert segments(ONE + gap + "#EXTINF:4,\n1.ts\n" + gap) == ["http://h/a/0.ts", "http://h/a/1.ts"]
    with pytest.raises(SourceInvalid, match="no segments"):
        segments(gap)


def test_what_the_host_lacks_counts_for_what_follows() -> None:
    text = '#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-KEY:METHOD=AES-128,URI="k"\n'
    ranged = "#EXTINF:4,\n#EXT-X-BYTERANGE:10\na.ts\n"
    found = playlist.read(HEAD + text + ranged + "#EXT-X-GAP\n" + ranged * 2 + END, URL)
    assert isinstance(found, Playlist)
    assert [(int.from_bytes(one.iv), one.span) for one in found.segments] == [(7, (0, 10)), (9, (20, 30))]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("\u00e9 1.ts", "http://h/a/%C3%A9%201.ts"),
        ("%C3%A9%201.ts?a=b&c=%20+|", "http://h/a/%C3%A9%201.ts?a=b&c=%20+%7C"),
        ("../x(1),~'!$*;@[2].ts", "http://h/x(1),~'!$*;@[2].ts"),
        ("//other:8/y.ts#z", "http://other:8/y.ts#z"),
    ],
)
def test_addresses_as_people_write_them(written: str, meant: str) -> None:
    assert segments(f"#EXTINF:4,\n{written}\n") == [meant]


@pytest.mark.parametrize(
    "text",
    ["#EXTINF:4,\nhttp://[x\n", f'#EXT-X-KEY:METHOD=AES-128,URI="//[x"\n{ONE}', f'#EXT-X-MAP:URI="//[x"\n{ONE}'],
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(SourceInvalid):
        segments(text)


def test_a_programme_of_sound_alone() -> None:
    sound = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="{0}",URI="{0}.m3u8"{1}\n'
    found = playlist.read("#EXTM3U\n" + sound.format("x", "") + sound.format("y", ",DEFAULT=YES"), URL)
    assert isinstance(found, Master)
    assert found.choose(None).url == "http://h/a/y.m3u8"
    with pytest.raises(SourceInvalid, match="no variants"):
        playlist.read('#EXTM3U\n#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="a",NAME="a",URI="a.m3u8"\n', URL)


def test_progress_of_unknown_size_goes_by_seconds(origin: Origin, bench: Bench) -> None:
    """An initialization tells nothing, and nothing is at its end before the end."""
    sizes, long = [1000, 40_000, 40_000, 120_000], [0, 4, 4, 12]
    lines = '#EXT-X-MAP:URI="0"\n' + "".join(f"#EXTINF:{long[n]},\n{n}\n" for n in (1, 2, 3))

    def script(call: Call) -> None:
        number = int(call.seen.path[1:])
        while number and not any(
            done >= sum(sizes[:number]) and (total or number == 1) for done, total in bench.progress
        ):
            call.wait(0.01)
        call.serve()

    for number, size in enumerate(sizes):
        origin.add(f"/{number}", media_bytes(size), script=script)
    bench.fetch(hls(serve(origin, "/a.m3u8", HEAD + lines + END)))
    told = dict(bench.progress)
    assert told[1000] == 0
    assert [round(told[sum(sizes[:count])], -4) for count in (2, 3, 4)] == [200_000] * 3
    assert all(done < total or done == sum(sizes) for done, total in bench.progress if total)


def test_progress_of_byte_ranges_is_exact(origin: Origin, bench: Bench) -> None:
    origin.add("/all.mp4", media_bytes(50_000))
    lines = "".join(f"#EXTINF:4,\n#EXT-X-BYTERANGE:10000@{10_000 * number}\nall.mp4\n" for number in range(5))
    bench.fetch(hls(serve(origin, "/a.m3u8", HEAD + lines + END)))
    assert {total for _, total in bench.progress} <= {0, 50_000}
