"""Which addresses are reached: none that is not public, by whatever way it is named."""

import ipaddress
import socket

import pytest

from downloader.config import Settings
from downloader.errors import BlockedAddress, SourceInvalid
from downloader.fetch.guard import Policy, checked_url, is_public, packed_address
from downloader.fetch.route import Router
from tests.fetch.conftest import Bench, settings_for, video
from tests.origin import Origin, faults, media_bytes

DATA = media_bytes(100_000)

BLOCKED = """
0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255
192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1
239.255.255.255 240.0.0.1 255.255.255.255 168.63.129.16
:: ::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1 ::8.8.8.8 64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b:1::1
100::1 2001::1 2001:0:53aa:64c:0:7fff:f5ff:fffe 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1::1 2002:a00:1::
3fff::1 5f00::1 fc00::1 fd00::1 fe80::1 fec0::1 ff02::1 ff0e::1
""".split()

PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.0.0.1 128.0.0.1 172.15.255.255 172.32.0.0 192.167.0.1
168.63.129.17 198.17.255.255 198.20.0.0 223.255.255.255 2606:4700:4700::1111 2001:4860:4860::8888 2a00:1450::1 2001:200::1
""".split()


@pytest.mark.parametrize("address", BLOCKED)
def test_not_public(address: str) -> None:
    packed = packed_address(address)
    assert packed is not None
    assert not is_public(packed)
    assert not Policy().permits(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    packed = packed_address(address)
    assert packed is not None
    assert is_public(packed)


def test_never_laxer_than_the_standard_library_where_that_says_private() -> None:
    for first in range(256):
        for second in (0, 18, 51, 64, 88, 100, 127, 168, 254):
            address = ipaddress.IPv4Address(bytes([first, second, 0, 9]))
            if address.is_private or address.is_multicast or address.is_reserved:
                assert not is_public(address.packed), address


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "gopher://127.0.0.1/", "dict://127.0.0.1:11211/", "ftp://example.org/", "//example.org/x", "http://",
        "http:///x", "http://user:secret@example.org/", "http://user@example.org/", "http://example.org\r\nX: y/", "http://exa mple.org/",
        "http://example.org/a b", "http://example.org/\x00", "http://example.org:0/", "http://example.org:99999/", "http://example.org:x/",
        "http://a\\@example.org/", "http://[::1/", "http://[fe80::1%25eth0]/", "http://ex\u0430mple.org/", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_urls_that_are_not_followed(url: str) -> None:
    with pytest.raises(BlockedAddress) as caught:
        checked_url(url)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1.", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "localhost", "localhost.", "[::1]",
     "[::ffff:127.0.0.1]", "0.0.0.0", "0"],
)  # fmt: skip
def test_no_spelling_of_loopback_reaches_the_origin(origin: Origin, bench: Bench, host: str) -> None:
    bench.options = {"media_allow_networks": ()}
    origin.add("/v.mp4", DATA)
    with pytest.raises(BlockedAddress):
        bench.fetch(video(origin.url("/v.mp4", host=host)))
    assert origin.connections == 0
    assert bench.left() == []


@pytest.mark.parametrize("transport", ["ranges", "hls", "sabr"])
@pytest.mark.parametrize("host", ["127.0.0.1", "media.example.org"])
def test_no_transport_leads_to_loopback(origin: Origin, bench: Bench, host: str, transport: str) -> None:
    bench.options = {"media_allow_networks": ()}
    bench.resolve = (f"media.example.org:{origin.port}:127.0.0.1,::1",)
    with pytest.raises(BlockedAddress):
        bench.fetch(video(origin.url("/v.mp4", host=host), transport=transport, itag=137))
    assert origin.connections == 0
    assert bench.left() == []


@pytest.mark.parametrize("transport", ["ranges", "hls", "sabr"])
def test_an_optional_track_that_leads_to_loopback_is_left_out(origin: Origin, bench: Bench, transport: str) -> None:
    origin.add("/v.mp4", DATA)
    bad = video("http://10.0.0.1/x", key="extra", transport=transport, itag=137, optional=True)
    fetched = bench.fetch(video(origin.url("/v.mp4")), bad)
    assert len(fetched.warnings) == 1
    assert len(bench.left()) == 2


def test_a_name_with_allowed_and_blocked_answers(origin: Origin, bench: Bench) -> None:
    bench.resolve = (f"media.example.org:{origin.port}:10.255.0.1,127.0.0.1",)
    origin.add("/v.mp4", DATA)
    assert bench.bytes_of(bench.fetch(video(origin.url("/v.mp4", host="media.example.org")))) == DATA


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("http://10.0.0.1/x", BlockedAddress), ("http://[::ffff:10.0.0.1]/x", BlockedAddress), ("http://169.254.169.254/latest", BlockedAddress),
        ("file:///etc/passwd", BlockedAddress), ("gopher://127.0.0.1/", BlockedAddress), ("dict://127.0.0.1/", BlockedAddress),
        ("http://u:p@127.0.0.1/", BlockedAddress), ("", SourceInvalid),
    ],
)  # fmt: skip
def test_redirects_are_checked(origin: Origin, bench: Bench, target: str, error: type[Exception]) -> None:
    url = origin.add("/v.mp4", DATA, script=lambda call: call.status(302, *([f"Location: {target}"] if target else [])))
    with pytest.raises(error):
        bench.fetch(video(url))
    assert bench.left() == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(origin: Origin, bench: Bench, status: int) -> None:
    origin.add("/v.mp4", DATA)
    url = origin.add("/old", script=lambda call: call.status(status, "Location: ../v.mp4?x=1"))
    assert bench.bytes_of(bench.fetch(video(url))) == DATA


def test_five_redirects_and_no_more(origin: Origin, bench: Bench) -> None:
    origin.add("/v.mp4", DATA)
    for hop in range(1, 7):
        origin.add(
            f"/{hop}", script=lambda call, hop=hop: call.status(302, f"Location: /{hop - 1 if hop > 1 else 'v.mp4'}")
        )
    assert bench.bytes_of(bench.fetch(video(origin.url("/5")))) == DATA
    with pytest.raises(SourceInvalid, match="redirects too often"):
        bench.fetch(video(origin.url("/6"), key="other"))


def test_the_environment_names_no_proxy(origin: Origin, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with Origin() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url(""))
        url = origin.add("/v.mp4", DATA)
        assert bench.bytes_of(bench.fetch(video(url))) == DATA
        assert proxy.connections == 0


def test_the_configured_proxy_is_used(bench: Bench) -> None:
    with Origin() as proxy:
        proxy.add("/v.mp4", DATA)  # asked for by an absolute URL, whose path is this
        bench.options = {"media_proxy_url": proxy.url(""), "media_allow_networks": ()}
        fetched = bench.fetch(video("http://media.example.org/v.mp4"))
        assert bench.bytes_of(fetched) == DATA
        assert proxy.requests[0].target.startswith("http://media.example.org/")


def test_the_proxy_is_not_asked_for_private_addresses(bench: Bench) -> None:
    with Origin() as proxy:
        bench.options = {"media_proxy_url": proxy.url(""), "media_allow_networks": ()}
        with pytest.raises(BlockedAddress):
            bench.fetch(video("http://10.1.2.3/v.mp4"))
        assert proxy.connections == 0


def test_the_server_is_reached_wherever_it_is(origin: Origin, bench: Bench) -> None:
    bench.options = {"media_allow_networks": (), "typetype_api_base": origin.url("")}
    origin.add("/proxy", DATA)
    assert bench.bytes_of(bench.fetch(video(origin.url("/proxy?url=x")))) == DATA


def test_a_redirect_does_not_lend_the_servers_privilege(origin: Origin, bench: Bench) -> None:
    with Origin() as server:
        server.add("/proxy", DATA)
        bench.options = {
            "typetype_api_base": server.url(""),
            "media_allow_networks": (ipaddress.ip_network("127.0.0.7/32"),),
        }
        bench.resolve = (f"media.example.org:{origin.port}:127.0.0.7",)
        url = origin.url("/v.mp4", host="media.example.org")
        with pytest.raises(BlockedAddress):
            Router(settings_for(bench.path, **bench.options)).request(
                server.url("/proxy?url=x"), came_from=Router(settings_for(bench.path, **bench.options)).request(url)
            )


def test_the_server_may_not_redirect_into_the_house(origin: Origin, bench: Bench) -> None:
    with Origin() as inside:
        inside.add("/secret", DATA)
        bench.options = {"media_allow_networks": (), "typetype_api_base": origin.url("")}
        origin.add("/proxy", script=lambda call: call.status(302, f"Location: {inside.url('/secret')}"))
        with pytest.raises(BlockedAddress):
            bench.fetch(video(origin.url("/proxy?url=x")), authorization="Bearer me")
        assert inside.connections == 0


def test_a_redirect_takes_no_authorization_along(origin: Origin, bench: Bench) -> None:
    with Origin() as media:
        media.add("/v.mp4", DATA)
        bench.options = {"typetype_api_base": origin.url("")}
        origin.add("/proxy", script=lambda call: call.status(302, f"Location: {media.url('/v.mp4')}"))
        assert bench.bytes_of(bench.fetch(video(origin.url("/proxy?url=x")), authorization="Bearer me")) == DATA
        assert {seen.headers.get("authorization") for seen in origin.requests} == {"Bearer me"}
        assert {seen.headers.get("authorization") for seen in media.requests} == {None}


@pytest.mark.parametrize("dots", ["..", ".", "%2e%2E", ".%2e", "%2e", "..%2f..", "x%5c.."])
def test_no_path_of_the_server_leads_elsewhere(origin: Origin, bench: Bench, dots: str) -> None:
    bench.options = {"typetype_api_base": origin.url("")}
    with pytest.raises(BlockedAddress):
        bench.fetch(video(origin.url(f"/proxy/{dots}/admin?url=x")), authorization="Bearer me")
    with Origin() as media:
        url = media.add("/v.mp4", script=lambda call: call.status(302, "Location: /a/../w.mp4"))
        media.add("/w.mp4", DATA)  # elsewhere they do no harm
        assert bench.bytes_of(bench.fetch(video(url))) == DATA
    assert origin.requests == []


def test_our_own_services_by_address(bench: Bench) -> None:
    bench.options = {"media_allow_networks": ()}
    with socket.create_server(("127.0.0.1", 0)) as service:
        service.setblocking(False)
        with pytest.raises(BlockedAddress):
            bench.fetch(video(f"http://127.0.0.1:{service.getsockname()[1]}/"))
        with pytest.raises(BlockingIOError):
            service.accept()


def test_headers_by_host() -> None:
    router = Router(Settings(typetype_api_base="http://server:8080"), authorization="Bearer me", request_id="r-1")

    def headers(url: str) -> dict[str, str]:
        return dict(line.split(": ", 1) for line in router.request(url).headers)

    assert headers("https://upos-sz.bilivideo.com/x")["Referer"] == "https://www.bilibili.com"
    assert headers("https://a.akamaized.net/x")["Referer"] == "https://www.bilibili.com"
    assert "Referer" not in headers("https://notbilivideo.com/x")
    nico = "https://delivery.nicovideo.jp/x?y=1#cookie=domand_bid%3Dabc123"
    assert headers(nico)["Cookie"] == "domand_bid=abc123"
    assert router.request(nico).url == "https://delivery.nicovideo.jp/x?y=1"
    assert "Cookie" not in headers("https://delivery.nicovideo.jp/x#cookie=domand_bid%3Dabc%0d%0aX%3A1")
    assert "Cookie" not in headers("https://elsewhere.org/x#cookie=domand_bid%3Dabc123")
    assert "Authorization" not in headers("https://r1.googlevideo.com/videoplayback?x=1")
    assert headers("http://server:8080/proxy?url=x")["Authorization"] == "Bearer me"
    assert headers("http://server:8080/proxy?url=x")["X-Request-ID"] == "r-1"
    assert "Authorization" not in headers("http://server:8080/admin")
    assert "Authorization" not in headers("http://server:8081/proxy?url=x")
    assert router.request("https://r1.googlevideo.com/videoplayback").mode == "query"
    assert router.request("http://server:8080/proxy?url=x").mode == "header"
    assert Router(Settings(download_range_mode="header")).request("https://r1.googlevideo.com/x").mode == "header"


def test_a_stranger_cannot_write_headers() -> None:
    router = Router(Settings(typetype_api_base="http://server:8080"), authorization="a\r\nX: y", request_id="b\nZ: 1")
    assert router.request("http://server:8080/proxy?url=x").headers == (router.request("http://other/").headers[0],)


def test_faults_have_names() -> None:
    assert {"whole_to_ranges", "403", "stalled"} <= set(faults.BY_NAME)
