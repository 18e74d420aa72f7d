"""Playlists that are others than before: nothing of the old one stays, and what is the same is not fetched again."""

from collections.abc import Callable

import pytest
from msgspec import structs

from downloader.errors import UpstreamUnavailable
from downloader.handoff import Track
from tests.fetch.conftest import Bench
from tests.fetch.test_hls import END, HEAD, TS, add_segments, hls, serve
from tests.origin import Call, Origin

OLD, NEW = TS[:4], TS[10:14]


def moved_to(url: str) -> Callable[[Track], Track]:
    return lambda track: structs.replace(track, url=url)


def listed(origin: Origin, segments: list[bytes], folder: str) -> str:
    """Segments under other names than ``add_segments`` gives them."""
    urls = [
        origin.add(f"{folder}/n{number}.ts", body, content_type="video/mp2t") for number, body in enumerate(segments)
    ]
    return "".join(f"#EXTINF:4,\n{url}\n" for url in urls)


def last_first(origin: Origin, bench: Bench, status: int) -> str:
    """A playlist whose first segment is refused, but not before all others wait for it."""
    url = serve(origin, "/old/a.m3u8", HEAD + add_segments(origin, OLD, "/old") + END)

    def script(call: Call) -> None:
        while bench.progress[-1][0] < sum(map(len, OLD[1:])):
            call.wait(0.01)
        call.status(status)

    origin.resource("/old/0.ts").script = script
    return url


def test_what_waits_does_not_outlive_its_playlist(origin: Origin, bench: Bench) -> None:
    url = last_first(origin, bench, 403)
    fresh = serve(origin, "/a.m3u8", HEAD + listed(origin, NEW, "/new") + END)
    fetched = bench.fetch(hls(url), refresh=moved_to(fresh))
    assert bench.bytes_of(fetched, "muxed") == b"".join(NEW)


def test_what_waits_does_not_go_into_another_attempt(origin: Origin, bench: Bench) -> None:
    url = last_first(origin, bench, 500)
    with pytest.raises(UpstreamUnavailable):
        bench.fetch(hls(url))
    assert any(name.endswith(".piece") for name in bench.left())
    serve(origin, "/old/a.m3u8", HEAD + listed(origin, NEW, "/new") + END)
    bench.epoch = 2
    assert bench.bytes_of(bench.fetch(hls(url)), "muxed") == b"".join(NEW)


def test_another_variant_is_another_playlist(origin: Origin, bench: Bench) -> None:
    """Its segments are called the same, in another folder."""
    for folder, segments in (("/720", OLD), ("/1080", NEW)):
        serve(origin, f"{folder}/a.m3u8", HEAD + add_segments(origin, segments, folder) + END)
    origin.resource("/720/3.ts").script = lambda call: call.status(403)
    low = "#EXT-X-STREAM-INF:BANDWIDTH=1000,RESOLUTION=1280x720\n/720/a.m3u8\n"
    high = "#EXT-X-STREAM-INF:BANDWIDTH=2000,RESOLUTION=1920x1080\n/1080/a.m3u8\n"
    fresh = serve(origin, "/new.m3u8", "#EXTM3U\n" + low + high)
    fetched = bench.fetch(hls(serve(origin, "/m.m3u8", "#EXTM3U\n" + low)), refresh=moved_to(fresh))
    assert bench.bytes_of(fetched, "muxed") == b"".join(NEW)
