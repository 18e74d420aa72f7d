"""What a playlist names is asked for as its own host would be: no privilege, no cookie that is not its own."""

from ipaddress import ip_network

import pytest

from downloader.errors import BlockedAddress
from tests.fetch.conftest import Bench
from tests.fetch.test_hls import END, HEAD, INSIDE, TS, add_segments, hls, serve
from tests.origin import Call, Origin

OUTSIDE = (ip_network("127.0.0.7/32"),)


@pytest.mark.parametrize("what", INSIDE)
@pytest.mark.parametrize("hop", ["", "/hop"])
def test_no_playlist_speaks_for_the_server(bench: Bench, what: str, hop: str) -> None:
    with Origin("127.0.0.7") as outside, Origin("127.0.0.1") as server:
        bench.options = {"typetype_api_base": server.url(""), "media_allow_networks": OUTSIDE}
        outside.add("/0.ts", TS[0])
        server.add("/proxy", bytes(16))
        serve(outside, "/v.m3u8", HEAD + "#EXTINF:4,\n0.ts\n" + END)
        url = serve(outside, "/a.m3u8", HEAD + INSIDE[what].format(server.url("/proxy?url=x")))
        server.add("/sabr", script=lambda call: call.status(302, f"Location: {url}"))
        with pytest.raises(BlockedAddress):
            bench.fetch(hls(server.url("/sabr") if hop else url), authorization="Bearer secret")
        assert server.count("/proxy") == 0


def test_the_servers_own_playlist_leads_to_the_server(bench: Bench) -> None:
    with Origin("127.0.0.1") as server:
        bench.options = {"typetype_api_base": server.url(""), "media_allow_networks": OUTSIDE}
        server.add("/proxy/0.ts", TS[0], content_type="video/mp2t")
        url = serve(server, "/proxy/a.m3u8", HEAD + "#EXTINF:4,\n0.ts\n" + END)
        assert bench.bytes_of(bench.fetch(hls(url), authorization="Bearer secret"), "muxed") == TS[0]
        assert [seen.headers.get("authorization") for seen in server.requests] == ["Bearer secret"] * 2


def test_what_a_redirect_leads_to_says_where_the_segments_are(origin: Origin, bench: Bench) -> None:
    url = serve(origin, "/cdn/deep/a.m3u8", HEAD + add_segments(origin, TS[:3], "/cdn/deep") + END)
    serve(origin, "/cdn/m.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\n/variant\n")
    hops = {"/master": origin.url("/cdn/m.m3u8"), "/variant": url}

    def script(call: Call) -> None:
        call.status(302, f"Location: {hops[call.seen.path]}")

    for path in hops:
        origin.add(path, script=script)
    assert bench.bytes_of(bench.fetch(hls(origin.url("/master"))), "muxed") == b"".join(TS[:3])


def test_a_cookie_stays_with_its_hosts(origin: Origin, bench: Bench) -> None:
    hosts = ("x.nicovideo.jp", "y.nicovideo.jp", "z.example")
    bench.resolve = tuple(f"{host}:{origin.port}:127.0.0.1" for host in hosts)
    names = [f"http://{host}:{origin.port}/{host}" for host in hosts]
    for host in hosts:
        origin.add(f"/{host}", TS[0], content_type="video/mp2t")
    serve(origin, "/a.m3u8", HEAD + "".join(f"#EXTINF:4,\n{name}\n" for name in names) + END)
    serve(origin, "/m.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\na.m3u8\n")
    bench.fetch(hls(f"http://x.nicovideo.jp:{origin.port}/m.m3u8#cookie=domand_bid%3Dabc"))
    sent = {seen.path: seen.headers.get("cookie") for seen in origin.requests}
    ours = "domand_bid=abc"
    assert sent == {
        "/m.m3u8": ours,
        "/a.m3u8": ours,
        "/x.nicovideo.jp": ours,
        "/y.nicovideo.jp": ours,
        "/z.example": None,
    }
