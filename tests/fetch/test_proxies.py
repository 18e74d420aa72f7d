"""MEDIA_PROXY_URL in each of its forms, and what a proxy may not be used for."""

import socket
from pathlib import Path

import pytest

from downloader.errors import BlockedAddress, SourceForbidden, UpstreamUnavailable
from downloader.fetch.transfer import Wire
from tests.fetch.conftest import Bench, video
from tests.fetch.test_connections import certificate, secure
from tests.origin import Origin, media_bytes
from tests.origin.socks import Socks

__all__ = ["certificate"]
DATA = media_bytes(2_500_000)
NAME = 3  # SOCKS5's address type of names


def test_socks5h_leaves_names_to_the_proxy(origin: Origin, bench: Bench) -> None:
    origin.add("/v.mp4", DATA)
    with Socks(origin.port) as proxy:
        bench.options = {"media_proxy_url": f"socks5h://127.0.0.1:{proxy.port}", "media_allow_networks": ()}
        fetched = bench.fetch(video("http://media.invalid:8000/v.mp4"))  # a name that no resolver knows
        assert bench.bytes_of(fetched) == DATA
        assert set(proxy.asked) == {(NAME, "media.invalid", 8000)}


@pytest.mark.parametrize(
    "host",
    ["10.1.2.3", "10.1.2.3.", "167838211", "0xa010203", "0XA.1.515", "012.1.2.3", "10.66051", "[::ffff:10.1.2.3]"],
)
def test_no_proxy_is_asked_for_private_addresses(origin: Origin, bench: Bench, host: str) -> None:
    with Socks(origin.port) as proxy:
        bench.options = {"media_proxy_url": f"socks5h://127.0.0.1:{proxy.port}", "media_allow_networks": ()}
        with pytest.raises(BlockedAddress):
            bench.fetch(video(f"http://{host}/v.mp4"))
        assert proxy.asked == []


@pytest.mark.parametrize("trusted", [True, False])
def test_an_https_proxy_must_show_its_certificate(
    bench: Bench,
    certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    trusted: bool,  # noqa: FBT001
) -> None:
    if trusted:
        monkeypatch.setitem(Wire.__init__.__kwdefaults__, "ca_file", str(certificate[0]))
    with Origin(tls=secure(certificate)) as proxy:
        proxy.add("/v.mp4", DATA)
        bench.resolve = (f"media.example.org:{proxy.port}:127.0.0.1",)
        url = f"https://media.example.org:{proxy.port}"
        bench.options = {"media_proxy_url": url, "media_allow_networks": ()}
        track = video("http://far.example/v.mp4")
        if trusted:
            assert bench.bytes_of(bench.fetch(track)) == DATA
            assert {seen.target for seen in proxy.requests} == {"http://far.example/v.mp4"}
            return
        with pytest.raises(UpstreamUnavailable, match="certificate"):
            bench.fetch(track)


def test_a_redirect_behind_the_proxy_is_checked_too(bench: Bench) -> None:
    with Origin() as proxy:
        proxy.add("/v.mp4", script=lambda call: call.status(302, "Location: http://10.0.0.1/inside"))
        bench.options = {"media_proxy_url": proxy.url(""), "media_allow_networks": ()}
        with pytest.raises(BlockedAddress):
            bench.fetch(video("http://media.example.org/v.mp4"))
        assert [seen.target for seen in proxy.requests] == ["http://media.example.org/v.mp4"]


def test_the_server_is_not_asked_through_the_proxy(origin: Origin, bench: Bench) -> None:
    origin.add("/proxy", DATA)
    with Origin() as proxy:
        bench.options = {"media_proxy_url": proxy.url(""), "typetype_api_base": origin.url("")}
        assert bench.bytes_of(bench.fetch(video(origin.url("/proxy?url=x")))) == DATA
        assert proxy.connections == 0


def test_the_proxys_password_is_sent_to_it_and_never_said(bench: Bench) -> None:
    with Origin() as proxy:
        proxy.add("/v.mp4", script=lambda call: call.status(407, "Proxy-Authenticate: Basic realm=x"))
        address = f"127.0.0.1:{proxy.port}"
        bench.options = {"media_proxy_url": f"http://me:hush@{address}", "media_allow_networks": ()}
        with pytest.raises(SourceForbidden) as caught:
            bench.fetch(video("http://media.example.org/v.mp4"))
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic bWU6aHVzaA=="
        assert "hush" not in caught.value.message


def test_a_proxy_that_is_away(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    bench.options = {"media_proxy_url": f"http://127.0.0.1:{port}", "media_allow_networks": ()}
    with pytest.raises(UpstreamUnavailable):
        bench.fetch(video("http://media.example.org/v.mp4"))
