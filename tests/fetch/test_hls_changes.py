"""Playlists that are others than before: nothing of the old one stays, and what is the same is not fetched again."""

from collections.abc import Callable

import pytest
from msgspec import structs

from downloader.errors import SourceInvalid, UpstreamUnavailable
from downloader.handoff import Track
from tests.fetch.conftest import Bench
from tests.fetch.test_hls import END, HEAD, TS, add_segments, hls, serve
from tests.origin import Call, Origin, media_bytes

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


V1, V2 = media_bytes(400_000, 1), media_bytes(400_000, 2)
PARTS = 8


def parts(origin: Origin, resource: str = "all.mp4") -> str:
    size = len(V1) // PARTS
    lines = "".join(f"#EXTINF:4,\n#EXT-X-BYTERANGE:{size}@{size * number}\n{resource}\n" for number in range(PARTS))
    return serve(origin, "/a.m3u8", HEAD + lines + END)


def test_parts_of_a_resource_that_changes_are_not_mixed(origin: Origin, bench: Bench) -> None:
    def script(call: Call) -> None:
        if call.number == 4:
            call.resource.body, call.resource.etag = V2, '"v2"'
        call.serve()

    origin.add("/all.mp4", V1, etag='"v1"', script=script)
    bench.options = {"download_workers": 1}
    assert bench.bytes_of(bench.fetch(hls(parts(origin))), "muxed") == V2


@pytest.mark.parametrize("body", [V1, V2], ids=["same", "changed"])
def test_parts_of_an_earlier_attempt_are_not_mixed(origin: Origin, bench: Bench, body: bytes) -> None:
    def script(call: Call) -> None:
        call.status(500) if call.span and call.span[0] else call.serve()

    origin.add("/all.mp4", V1, etag='"v1"', script=script)
    url = parts(origin)
    with pytest.raises(UpstreamUnavailable):
        bench.fetch(hls(url))
    found = origin.resource("/all.mp4")
    found.script, found.body, found.etag = None, body, f'"v{1 + (body is V2)}"'
    bench.epoch, before = 2, origin.count("/all.mp4")
    assert bench.bytes_of(bench.fetch(hls(url)), "muxed") == body
    assert (origin.count("/all.mp4") - before == PARTS - 1) is (body is V1)


def test_a_host_without_steady_tags_is_asked_for_the_whole(origin: Origin, bench: Bench) -> None:
    def script(call: Call) -> None:
        call.resource.etag = f'"{call.number}"'
        call.serve()

    origin.add("/all.mp4", V1, script=script)
    bench.options = {"download_workers": 1}
    assert bench.bytes_of(bench.fetch(hls(parts(origin))), "muxed") == V1


def test_a_host_without_ranges_is_asked_for_the_whole(origin: Origin, bench: Bench) -> None:
    origin.add("/all.mp4", V1, ranges=False)
    bench.options = {"download_workers": 1}
    assert bench.bytes_of(bench.fetch(hls(parts(origin))), "muxed") == V1
    assert origin.count("/all.mp4") <= 1 + bench.limits.faults + 1  # the first part, those it ignores, the whole


def test_a_host_without_ranges_whose_parts_lie_apart(origin: Origin, bench: Bench) -> None:
    origin.add("/all.mp4", V1, ranges=False)
    lines = "".join(f"#EXTINF:4,\n#EXT-X-BYTERANGE:9@{20 * number}\nall.mp4\n" for number in range(1, 40))
    bench.options = {"download_workers": 1}
    with pytest.raises(SourceInvalid, match="the whole media instead of a part"):
        bench.fetch(hls(serve(origin, "/a.m3u8", HEAD + lines + END)))
    assert origin.count("/all.mp4") < 39
