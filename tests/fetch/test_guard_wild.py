"""Addresses and URLs by the thousand, judged by others as well: the standard library, and curl itself."""

import re
import string
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pycurl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from downloader.config import Settings
from downloader.errors import BlockedAddress
from downloader.fetch.guard import Policy, checked_url, host_address, is_public, packed_address
from downloader.fetch.route import Router
from tests.fetch.conftest import QUICK, Bench, video
from tests.fetch.test_guard import BLOCKED
from tests.origin import Origin

# What the standard library calls global although nothing of ours has business there.
STRICTER = [
    ip_network(text)
    for text in (
        "192.0.0.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.175.48.0/24", "168.63.129.16/32",
        "2001::/23", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
    )
]  # fmt: skip
SPECIAL = [
    *STRICTER,
    *map(
        ip_network,
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.2.0/24 192.168.0.0/16 198.18.0.0/15 "
        "198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 ::/128 ::1/128 ::/96 ::ffff:0:0/96 64:ff9b::/96 64:ff9b:1::/48 "
        "100::/64 2001::/32 2001:db8::/32 2002::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8 2000::/3".split(),
    ),
]


def oracle(address: IPv4Address | IPv6Address) -> bool:
    """Whether the address is public, by the standard library and the networks it is too lax about."""
    if any(address.version == network.version and address in network for network in STRICTER):
        return False
    if address.version == 6 and address not in ip_network("2000::/3"):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


@st.composite
def addresses(draw: st.DrawFn) -> IPv4Address | IPv6Address:
    """Any address, half of them right at the edge of a special network."""
    if draw(st.booleans()):
        return draw(st.ip_addresses())
    network = draw(st.sampled_from(SPECIAL))
    edge = draw(st.sampled_from([network.network_address, network.broadcast_address]))
    kind = type(edge)
    return kind((int(edge) + draw(st.integers(-2, 2))) % (1 << edge.max_prefixlen))


@given(addresses())
@example(ip_address("168.63.129.16"))
def test_classified_as_others_do(address: IPv4Address | IPv6Address) -> None:
    assert is_public(address.packed) is oracle(address)
    assert Policy().permits(str(address)) is oracle(address)


IPV4 = st.one_of(
    st.ip_addresses(v=4), st.sampled_from(["127.0.0.1", "10.0.0.1", "169.254.169.254", "8.8.8.8"]).map(IPv4Address)
)


def embeddings(inner: IPv4Address, noise: int) -> Iterator[IPv6Address]:
    """``inner`` in every form of IPv6 that carries an IPv4 address."""
    value = int(inner)
    yield IPv6Address(value)  # compatible (RFC 4291, 2.5.5.1)
    yield IPv6Address(0xFFFF << 32 | value)  # mapped (RFC 4291, 2.5.5.2)
    yield IPv6Address(0xFFFF << 48 | value)  # translated (RFC 2765)
    yield IPv6Address(int(IPv6Address("64:ff9b::")) | value)  # NAT64 (RFC 6052)
    yield IPv6Address(int(IPv6Address("64:ff9b:1::")) | (noise % (1 << 48)) << 32 | value)  # NAT64 (RFC 8215)
    yield IPv6Address(0x2002 << 112 | value << 80 | noise % (1 << 80))  # 6to4 (RFC 3056)
    yield IPv6Address(0x20010000 << 96 | (noise % (1 << 64)) << 32 | value ^ 0xFFFFFFFF)  # Teredo (RFC 4380)
    yield IPv6Address(0xFEC0 << 112 | (noise % (1 << 54)) << 32 | value)  # site-local (RFC 3879)
    yield IPv6Address(0xFE80 << 112 | 0x5EFE << 32 | value)  # ISATAP on a link (RFC 5214)


@given(IPV4, st.integers(0, (1 << 80) - 1), st.booleans(), st.booleans())
def test_no_embedding_is_public(inner: IPv4Address, noise: int, upper: bool, long: bool) -> None:  # noqa: FBT001
    router = Router(Settings())
    for address in embeddings(inner, noise):
        text = address.exploded if long else str(address)
        text = text.upper() if upper else text
        dotted = str(IPv6Address(int(address) >> 32 << 32)) if int(address) >> 32 else "::"
        spelled = [text, f"{dotted.removesuffix('::')}::{inner}"] if dotted.endswith("::") else [text]
        for each in spelled:
            packed = packed_address(each)
            assert packed is None or not is_public(packed), each
            assert not Policy().permits(each), each
            with pytest.raises(BlockedAddress):
                router.request(f"http://[{each}]:8080/x")


@pytest.mark.parametrize("way", ["by name", "by redirect"])
def test_no_special_address_is_ever_connected_to(bench: Bench, way: str) -> None:
    """One fetch an address: the engine as a whole, not only its check."""
    bench.limits = replace(QUICK, connect=0.5, attempts=1)
    for address in BLOCKED:
        literal = f"[{address}]" if ":" in address else address
        with Origin() as origin:
            if way == "by name":
                bench.options = {"media_allow_networks": ()}
                bench.resolve = (f"media.example.org:{origin.port}:{literal}",)
                url = origin.url("/v.mp4", host="media.example.org")
            else:
                bench.options = {"media_allow_networks": (ip_network("127.0.0.1/32"),)}
                target = f"Location: http://{literal}:{origin.port}/inside"
                url = origin.add("/v.mp4", script=lambda call, target=target: call.status(302, target))
            if way == "by redirect" and address == "127.0.0.1":
                continue
            with pytest.raises(BlockedAddress):
                bench.fetch(video(url))
            assert origin.count("/inside") == 0
            assert bench.left() == []


WORDS = st.text(st.sampled_from(string.ascii_letters + string.digits + ".-_@:/\\?#[]%;&=+ \t\r\n\x00é。"), max_size=20)
NAMES = st.text("aZ0-._", min_size=1, max_size=12) | st.sampled_from(
    ["1.1.1.1", "0x7f.1", "[2a00::1]", "017700000001", "1.1"]
)
URLS = st.one_of(
    st.text(max_size=60),
    st.builds("{}://{}{}".format, st.sampled_from(["http", "https", "HTTP", "file", "gopher"]), WORDS, WORDS),
    st.builds("http://{}:{}@{}/{}".format, WORDS, WORDS, WORDS, WORDS),
    st.builds("http://{}.{}:{}/{}".format, WORDS, WORDS, st.integers(-1, 70000), WORDS),
    st.builds("http://{}:{}/{}".format, NAMES, st.integers(1, 65535), WORDS),
    st.builds("https://{}/{}".format, NAMES, WORDS),
)


def followed(url: str) -> bool:
    try:
        split = checked_url(url)
    except BlockedAddress:
        return False
    assert split.scheme in ("http", "https")
    assert split.hostname
    assert split.username is split.password is None
    assert url.isascii()
    assert url.isprintable()
    assert not set(url) & set(" \\")
    return True


@given(URLS)
@example("http://127.0.0.1\\@example.org/")
@example("http://example.org:80@127.0.0.1/")
@example("http://example.org/\r\nHost: x")
def test_no_wild_url_upsets_the_check(url: str) -> None:
    followed(url)


@given(st.lists(URLS, min_size=20, max_size=60))
def test_curl_goes_where_the_check_thinks(candidates: list[str]) -> None:
    """Two parsers, one URL: what curl would ask for must be what was judged."""
    router = Router(Settings(media_allow_networks=(ip_network("0.0.0.0/0"), ip_network("::/0"))))
    for url in filter(followed, candidates):
        request = router.request(url)
        host, port = sought(request.url)
        judged = checked_url(request.url)
        if host is None:
            continue
        address = host_address(judged.hostname or "")
        expected = str(ip_address(address)) if address else (judged.hostname or "").rstrip(".")
        assert host.strip("[]").rstrip(".").lower() == expected.lower(), url
        assert port == (judged.port or {"http": 80, "https": 443}[judged.scheme]), url


def sought(url: str) -> tuple[str | None, int]:
    """Where curl would connect to; (None, 0) when it refuses the URL."""
    curl = pycurl.Curl()
    try:
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.PROXY, "")
        curl.setopt(pycurl.CONNECT_TO, ["::127.0.0.1:1"])  # nobody listens there
        curl.perform()
    except pycurl.error as error:
        found = re.match(r"Failed to connect to (.*):(\d+) via", error.args[1])
        return (found[1], int(found[2])) if found else (None, 0)
    finally:
        curl.close()
    raise AssertionError("somebody answered")
