"""Playlists: whole segments, byte ranges, keys, masters, and what is refused."""

import os
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import av
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from downloader.errors import BlockedAddress, Draining, SourceGone, SourceInvalid
from downloader.fetch.playlist import Master, read
from downloader.handoff import Track
from tests.fetch.conftest import Bench
from tests.media import make_audio, make_muxed, make_video
from tests.origin import Call, Origin, media_bytes
from tests.origin.faults import once
from tests.standin.framing import fmp4_playlist, fragments

TS = [b"".join(b"\x47" + media_bytes(187, 100 * n + packet, b"") for packet in range(50 + n)) for n in range(30)]
HEAD = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:5\n"
END = "#EXT-X-ENDLIST\n"


def hls(url: str, **options: object) -> Track:
    return Track(**{"key": "muxed", "kind": "muxed", "transport": "hls", "url": url} | options)


def add_segments(origin: Origin, segments: list[bytes], folder: str = "/hls") -> str:
    lines = []
    for number, body in enumerate(segments):
        origin.add(f"{folder}/{number}.ts", body, content_type="video/mp2t")
        lines.append(f"#EXTINF:4,\n{number}.ts\n")
    return "".join(lines)


def serve(origin: Origin, path: str, text: str) -> str:
    return origin.add(path, text.encode(), content_type="application/vnd.apple.mpegurl")


def test_segments_in_parallel_in_order(origin: Origin, bench: Bench) -> None:
    url = serve(origin, "/hls/a.m3u8", HEAD + add_segments(origin, TS) + END)
    fetched = bench.fetch(hls(url))
    assert bench.bytes_of(fetched, "muxed") == b"".join(TS)
    assert fetched.tracks[0].format == "mpegts"
    assert origin.connections > 2


def test_fragmented_mp4_by_byte_ranges(origin: Origin, bench: Bench) -> None:
    data = media_bytes(200_000)
    url = origin.add("/hls/all.mp4", data)
    lines = f'#EXT-X-MAP:URI="all.mp4",BYTERANGE="1000@0"\n#EXTINF:4,\n#EXT-X-BYTERANGE:99000@1000\n{url}\n#EXTINF:4,\n#EXT-X-BYTERANGE:100000\nall.mp4\n'
    fetched = bench.fetch(hls(serve(origin, "/hls/a.m3u8", HEAD + lines + END)))
    assert bench.bytes_of(fetched, "muxed") == data
    assert fetched.tracks[0].format == "mp4"


def test_byte_ranges_go_to_their_place_at_once(origin: Origin, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The playlist says how long each is, so none of them waits for an earlier one, nor is any moved."""
    path = make_muxed(bench.path / "media.mp4", 6, (320, 180), fragmented=True)
    found = fragments(path)

    def script(call: Call) -> None:
        while call.span == (0, found.init) and bench.progress[-1][0] < sum(length for _, length in found.media):
            call.wait(0.01)
        call.serve()

    monkeypatch.setattr(os, "copy_file_range", None)
    origin.add("/all.mp4", path, script=script)
    url = serve(origin, "/a.m3u8", fmp4_playlist(path, "all.mp4", 6))
    fetched = bench.fetch(hls(url))
    assert bench.bytes_of(fetched, "muxed") == path.read_bytes()


def test_byte_ranges_of_a_host_that_ignores_them(origin: Origin, bench: Bench) -> None:
    data = media_bytes(200_000)
    origin.add("/hls/all.mp4", data, ranges=False)
    lines = '#EXT-X-MAP:URI="all.mp4",BYTERANGE="1000@0"\n#EXTINF:4,\n#EXT-X-BYTERANGE:199000@1000\nall.mp4\n'
    fetched = bench.fetch(hls(serve(origin, "/hls/a.m3u8", HEAD + lines + END)))
    assert bench.bytes_of(fetched, "muxed") == data


def encrypted(data: bytes, key: bytes, iv: bytes) -> bytes:
    padder = PKCS7(128).padder()
    encryptor = Cipher(AES(key), CBC(iv)).encryptor()
    return encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize()


def test_aes_128_with_and_without_iv(origin: Origin, bench: Bench) -> None:
    key, iv = bytes(range(16)), bytes(range(16, 32))
    origin.add("/hls/key", key, content_type="application/octet-stream")
    first = [encrypted(body, key, number.to_bytes(16)) for number, body in enumerate(TS[:3], 7)]
    origin.add("/hls/last.ts", encrypted(TS[3], key, iv), content_type="video/mp2t")
    lines = '#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-KEY:METHOD=AES-128,URI="key"\n' + add_segments(origin, first)
    lines += f'#EXT-X-KEY:METHOD=AES-128,URI="key",IV=0x{iv.hex()}\n#EXTINF:4,\nlast.ts\n'
    fetched = bench.fetch(hls(serve(origin, "/hls/a.m3u8", HEAD + lines + END)))
    assert bench.bytes_of(fetched, "muxed") == b"".join(TS[:4])
    assert origin.count("/hls/key") == 1


KEYS = bytes(range(16)), bytes(range(40, 56))
IVS = bytes(range(16, 32)), bytes(range(60, 76))


def add_encrypted(origin: Origin, path: Path, *, iv: str) -> str:
    """Fragmented MP4 with every part of it encrypted; another key and another initialization half way."""
    data, found = path.read_bytes(), fragments(path)
    lines = []
    for half, key in enumerate(KEYS):
        origin.add(f"/hls/key{half}", key, content_type="application/octet-stream")
        origin.add(f"/hls/init{half}.mp4", encrypted(data[: found.init], key, IVS[half]))
        lines.append(f'#EXT-X-KEY:METHOD=AES-128,URI="key{half}"{iv.format(IVS[half].hex())}')
        lines.append(f'#EXT-X-MAP:URI="init{half}.mp4"')
        share = range(len(found.media) * half // 2, len(found.media) * (half + 1) // 2)
        for number in share:
            start, length = found.media[number]
            origin.add(f"/hls/{number}.m4s", encrypted(data[start : start + length], key, IVS[half]))
            lines += ["#EXTINF:1,", f"{number}.m4s"]
    return HEAD + "\n".join(lines) + "\n" + END


def test_an_encrypted_initialization_of_real_media(origin: Origin, bench: Bench) -> None:
    path = make_muxed(bench.path / "media.mp4", 4, (320, 180), fragmented=True)
    url = serve(origin, "/hls/a.m3u8", add_encrypted(origin, path, iv=",IV=0x{}"))
    fetched = bench.fetch(hls(url))
    data, found = path.read_bytes(), fragments(path)
    middle = found.media[len(found.media) // 2][0]
    assert bench.bytes_of(fetched, "muxed") == data[:middle] + data[: found.init] + data[middle:]
    with av.open(str(bench.work / fetched.tracks[0].path), format="mov") as media:
        assert sum(1 for _ in media.decode(video=0)) == 40


def test_an_initialization_before_its_key_is_not_encrypted(origin: Origin, bench: Bench) -> None:
    path = make_muxed(bench.path / "media.mp4", 4, (320, 180), fragmented=True)
    data, found = path.read_bytes(), fragments(path)
    origin.add("/hls/key", KEYS[0], content_type="application/octet-stream")
    origin.add("/hls/init.mp4", data[: found.init])
    origin.add("/hls/rest.m4s", encrypted(data[found.init :], KEYS[0], bytes(16)))
    lines = '#EXT-X-MAP:URI="init.mp4"\n#EXT-X-KEY:METHOD=AES-128,URI="key"\n#EXTINF:4,\nrest.m4s\n'
    assert bench.bytes_of(bench.fetch(hls(serve(origin, "/hls/a.m3u8", HEAD + lines + END))), "muxed") == data


def test_an_encrypted_initialization_needs_its_vector(origin: Origin, bench: Bench) -> None:
    path = make_muxed(bench.path / "media.mp4", 4, (320, 180), fragmented=True)
    url = serve(origin, "/hls/a.m3u8", add_encrypted(origin, path, iv=""))
    with pytest.raises(SourceInvalid, match="lacks an initialization vector"):
        bench.fetch(hls(url))
    assert bench.left() == []


def test_failures_of_keys_are_counted_for_each(origin: Origin, bench: Bench) -> None:
    lines = ""
    for number, body in enumerate(TS[:10]):
        key = bytes([number]) * 16
        origin.add(
            f"/hls/key{number}",
            key,
            content_type="application/octet-stream",
            script=once(lambda call: call.status(500), 1),
        )
        origin.add(f"/hls/{number}.ts", encrypted(body, key, bytes(16)), content_type="video/mp2t")
        lines += f'#EXT-X-KEY:METHOD=AES-128,URI="key{number}",IV=0x{"0" * 32}\n#EXTINF:4,\n{number}.ts\n'
    fetched = bench.fetch(hls(serve(origin, "/hls/a.m3u8", HEAD + lines + END)))
    assert bench.bytes_of(fetched, "muxed") == b"".join(TS[:10])


def test_wrong_key_is_no_media(origin: Origin, bench: Bench) -> None:
    origin.add("/hls/key", bytes(16))
    body = encrypted(TS[0], bytes(range(16)), bytes(16))
    lines = '#EXT-X-KEY:METHOD=AES-128,URI="key"\n' + add_segments(origin, [body])
    with pytest.raises(SourceInvalid):
        bench.fetch(hls(serve(origin, "/hls/a.m3u8", HEAD + lines + END)))
    assert bench.left() == []


@pytest.mark.parametrize(("height", "expected"), [(None, 1), (1080, 1), (720, 1), (480, 0), (100, 0)])
def test_master_by_height(origin: Origin, bench: Bench, height: int | None, expected: int) -> None:
    low = serve(origin, "/low/a.m3u8", HEAD + add_segments(origin, TS[:2], "/low") + END)
    high = serve(origin, "/high/a.m3u8", HEAD + add_segments(origin, TS[2:4], "/high") + END)
    master = (
        f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=2000000,RESOLUTION=1280x720\n{high}\n"
        f"#EXT-X-STREAM-INF:BANDWIDTH=500000,RESOLUTION=640x360\n{low}\n"
    )
    fetched = bench.fetch(hls(serve(origin, "/m.m3u8", master), height=height))
    assert bench.bytes_of(fetched, "muxed") == b"".join((TS[:2], TS[2:4])[expected])


def split_master(origin: Origin, picture: Path, sound: Path) -> str:
    """A programme whose sound comes apart, in two languages."""
    for name, path in (("v", picture), ("a", sound)):
        origin.add(f"/{name}.mp4", path)
        serve(origin, f"/{name}.m3u8", fmp4_playlist(path, f"{name}.mp4", 4))
    serve(origin, "/other.m3u8", HEAD + END)
    return serve(
        origin,
        "/m.m3u8",
        '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="Other",URI="other.m3u8"\n'
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English",DEFAULT=YES,URI="a.m3u8"\n'
        '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="English",URI="none.m3u8"\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=9,RESOLUTION=320x180,AUDIO="a",SUBTITLES="s"\nv.m3u8\n',
    )


def test_sound_that_comes_apart_is_fetched_as_well(origin: Origin, bench: Bench) -> None:
    picture = make_video(bench.path / "v.mp4", 4, (320, 180))
    sound = make_audio(bench.path / "a.mp4", 4)
    url = split_master(origin, picture, sound)
    fetched = bench.fetch(hls(url))
    assert [(track.track.key, track.track.kind) for track in fetched.tracks] == [
        ("muxed", "muxed"),
        ("muxed-sound", "audio"),
    ]
    assert bench.bytes_of(fetched, "muxed") == picture.read_bytes()
    assert bench.bytes_of(fetched, "muxed-sound") == sound.read_bytes()
    assert bench.progress[-1][0] == fetched.bytes_moved
    bench.epoch, before = 2, origin.count()
    assert bench.fetch(hls(url)).bytes_moved == 0
    assert origin.count() - before <= 4  # playlists alone


def test_sound_alone_is_taken_from_where_it_comes_apart(origin: Origin, bench: Bench) -> None:
    picture, sound = make_video(bench.path / "v.mp4", 4, (320, 180)), make_audio(bench.path / "a.mp4", 4)
    fetched = bench.fetch(hls(split_master(origin, picture, sound), audio_only=True))
    assert bench.bytes_of(fetched, "muxed") == sound.read_bytes()
    assert origin.count("/v.mp4") == 0


def test_a_link_that_expires_brings_the_sound_back_too(origin: Origin, bench: Bench) -> None:
    picture, sound = make_video(bench.path / "v.mp4", 4, (320, 180)), make_audio(bench.path / "a.mp4", 4)
    url = split_master(origin, picture, sound)
    origin.resource("/a.mp4").script = lambda call: call.status(403) if call.number < 3 else call.serve()
    asked: list[Track] = []

    def refresh(track: Track) -> Track:
        asked.append(track)
        return hls(url)

    fetched = bench.fetch(hls(url), refresh=refresh)
    assert bench.bytes_of(fetched, "muxed-sound") == sound.read_bytes()
    assert [track.key for track in asked] == ["muxed"]


def test_no_sound_no_programme(origin: Origin, bench: Bench) -> None:
    picture, sound = make_video(bench.path / "v.mp4", 4, (320, 180)), make_audio(bench.path / "a.mp4", 4)
    url = split_master(origin, picture, sound)
    origin.resource("/a.mp4").script = lambda call: call.status(404)
    with pytest.raises(SourceGone):
        bench.fetch(hls(url))
    assert bench.left() == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "#EXTINF:4,\n0.ts\n", "live stream"),
        (HEAD + END, "no segments"),
        ("<html>", "not one"),
        (HEAD + '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k"\n#EXTINF:4,\n0.ts\n' + END, "protected"),
        (HEAD + "#EXTINF:4,\n#EXT-X-BYTERANGE:x@y\n0.ts\n" + END, "byte range"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n", "without end"),
    ],
)
def test_what_is_refused(origin: Origin, bench: Bench, text: str, words: str) -> None:
    with pytest.raises(SourceInvalid, match=words):
        bench.fetch(hls(serve(origin, "/hls/a.m3u8".replace("/hls", ""), text)))
    assert bench.left() == []


def test_resumes_by_segment(origin: Origin, bench: Bench) -> None:
    url = serve(origin, "/hls/a.m3u8", HEAD + add_segments(origin, TS) + END)
    origin.resource("/hls/20.ts").script = lambda call: call.status(404)
    with pytest.raises(SourceGone):
        bench.fetch(hls(url))
    assert bench.left() == []  # gone is final
    origin.resource("/hls/20.ts").script = lambda call: call.status(500)
    with pytest.raises(Exception, match="has a problem"):
        bench.fetch(hls(url))
    origin.resource("/hls/20.ts").script = None
    bench.epoch = 2
    before = len(origin.requests)
    assert bench.bytes_of(bench.fetch(hls(url)), "muxed") == b"".join(TS)
    assert len(origin.requests) - before == 1 + 1  # the playlist and what was missing of it


@pytest.mark.parametrize("status", [429, 503])
def test_a_host_that_complains_about_too_many_segments_at_once(origin: Origin, bench: Bench, status: int) -> None:
    """Some segments are refused as often as a segment may fail, and still none of them counts as lost."""
    url = serve(origin, "/hls/a.m3u8", HEAD + add_segments(origin, TS[:14]) + END)

    def busy(call: Call) -> None:
        call.status(status) if call.number <= 3 else call.serve()

    def slow(call: Call) -> None:
        call.wait(0.1)
        call.serve()

    for number in range(14):
        origin.resource(f"/hls/{number}.ts").script = busy if number in (1, 4, 6) else slow
    bench.limits = replace(bench.limits, attempts=3)
    assert bench.bytes_of(bench.fetch(hls(url)), "muxed") == b"".join(TS[:14])
    assert origin.count("/hls/4.ts") == 4


def test_a_host_that_asks_for_quiet_is_left_alone(origin: Origin, bench: Bench) -> None:
    """Not only by the segment that was told so."""
    url = serve(origin, "/hls/a.m3u8", HEAD + add_segments(origin, TS) + END)
    origin.resource("/hls/0.ts").script = lambda call: call.status(429, "Retry-After: 60")
    bench.limits = replace(bench.limits, retry_after_cap=90.0)
    bench.options = {"download_workers": 1}
    looks = 0

    def check() -> None:
        nonlocal looks
        looks += origin.count("/hls/0.ts")
        if looks > 20:
            raise Draining("enough seen")

    with pytest.raises(Draining):
        bench.fetch(hls(url), check=check)
    assert origin.count() == 2


def test_an_expired_link_is_resolved_again(origin: Origin, bench: Bench) -> None:
    url = serve(origin, "/hls/a.m3u8", HEAD + add_segments(origin, TS) + END)
    lines = "".join(f"#EXTINF:4,\n{number}.ts?token=new\n" for number in range(len(TS)))
    fresh = serve(origin, "/hls/b.m3u8", HEAD + lines + END)

    def script(call: Call) -> None:
        call.serve() if "token" in call.seen.query else call.status(403)

    origin.resource("/hls/9.ts").script = script
    fetched = bench.fetch(hls(url), refresh=lambda _track: hls(fresh))
    assert bench.bytes_of(fetched, "muxed") == b"".join(TS)
    assert fetched.bytes_moved < len(b"".join(TS)) * 1.5  # what was there stays there


def test_master_choice_prefers_bits_among_equals() -> None:
    master = read(
        "#EXTM3U\n"
        + "".join(f"#EXT-X-STREAM-INF:BANDWIDTH={rate},RESOLUTION=2x720\n{rate}.m3u8\n" for rate in (5, 9, 7)),
        "http://h/m",
    )
    assert isinstance(master, Master)
    assert master.choose(720).url == "http://h/9.m3u8"


INSIDE = {
    "segment": "#EXTINF:4,\n{0}\n" + END,
    "range": "#EXTINF:4,\n#EXT-X-BYTERANGE:9@0\n{0}\n" + END,
    "key": '#EXT-X-KEY:METHOD=AES-128,URI="{0}"\n#EXTINF:4,\n0.ts\n' + END,
    "initialization": '#EXT-X-MAP:URI="{0}"\n#EXTINF:4,\n0.ts\n' + END,
    "variant": "#EXT-X-STREAM-INF:BANDWIDTH=9\n{0}\n",
    "sound": '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="{0}"\n#EXT-X-STREAM-INF:BANDWIDTH=9,AUDIO="a"\nv.m3u8\n',
}


@pytest.mark.parametrize("what", INSIDE)
@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/x", "http://2130706433:{}/x", "file:///etc/passwd#{}"])
def test_no_playlist_leads_into_the_house(bench: Bench, what: str, url: str) -> None:
    bench.options = {"media_allow_networks": (ip_network("127.0.0.7/32"),)}
    with Origin("127.0.0.7") as outside, Origin("127.0.0.1") as inside:
        inside.add("/x", KEYS[0])
        outside.add("/0.ts", TS[0])
        serve(outside, "/v.m3u8", HEAD + "#EXTINF:4,\n0.ts\n" + END)
        text = HEAD + INSIDE[what].format(url.format(inside.port))
        with pytest.raises(BlockedAddress):
            bench.fetch(hls(serve(outside, "/a.m3u8", text)))
        assert inside.connections == 0
        assert bench.left() == []
        fetched = bench.fetch(hls(outside.url("/a.m3u8"), optional=True))
        assert (fetched.tracks, len(fetched.warnings), bench.left()) == ((), 1, [])
