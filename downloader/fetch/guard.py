"""Which addresses may be reached.

Addresses are judged byte by byte, never by ``ipaddress.is_global``, which lets several embedding and reserved forms
pass. The tables are IANA's special-purpose registries and the cloud's own.
"""

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from downloader.errors import BlockedAddress

_IPV4_BITS, _IPV6_BITS = 32, 128

_IPV4_BLOCKED = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    "168.63.129.16/32",  # Azure's host agent, on a public-looking address
)  # fmt: skip
# Global unicast is 2000::/3; everything else (mapped, compatible, NAT64, unique local, link-local, site-local,
# multicast) is refused by not being in it. These parts of it embed other addresses or are reserved.
_IPV6_GLOBAL = "2000::/3"
_IPV6_BLOCKED = ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")

_NUMERIC = re.compile(r"[0-9a-fx.]+", re.ASCII | re.IGNORECASE)

_Prefix = tuple[int, int]  # the network's bits, and how far to shift an address to compare


def _prefix(text: str) -> _Prefix:
    network = ip_network(text)
    shift = network.max_prefixlen - network.prefixlen
    return int(network.network_address) >> shift, shift


_V4 = tuple(map(_prefix, _IPV4_BLOCKED))
_V6 = tuple(map(_prefix, _IPV6_BLOCKED))
_V6_GLOBAL = _prefix(_IPV6_GLOBAL)


def is_public(packed: bytes) -> bool:
    """Whether an address (4 or 16 bytes, network order) is one of the public internet."""
    value = int.from_bytes(packed)
    if len(packed) * 8 == _IPV4_BITS:
        return not any(value >> shift == bits for bits, shift in _V4)
    if len(packed) * 8 != _IPV6_BITS or value >> _V6_GLOBAL[1] != _V6_GLOBAL[0]:
        return False
    return not any(value >> shift == bits for bits, shift in _V6)


def packed_address(text: str) -> bytes | None:
    """A textual address as bytes (a scope such as ``%eth0`` cut off), or None when it is none."""
    text = text.partition("%")[0].strip("[]")
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, text)
        except OSError:
            continue
    return None


def host_address(host: str) -> bytes | None:
    """The address that a URL's host is, in any spelling that curl takes for one; None when it is a name.

    IPv4 may be decimal, hexadecimal, octal, or of fewer than four parts (RFC 6943, 3.1.1).
    """
    packed = packed_address(host.removesuffix("."))
    if packed is not None or not _NUMERIC.fullmatch(host):
        return packed
    try:
        return socket.inet_aton(host.removesuffix("."))
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Policy:
    """Whom a connection may reach. Connections of different policies never share a pool.

    ``anywhere``: the configured TypeType-Server, wherever it is. ``allow``: networks fine although not public.
    ``by_proxy``: addresses are the proxy's business; what is connected to is the proxy.
    """

    allow: tuple[IPv4Network | IPv6Network, ...] = ()
    anywhere: bool = False
    by_proxy: bool = False

    def permits(self, address: str) -> bool:
        """Whether ``address`` (text, as the socket layer gives it) may be connected to."""
        if self.anywhere or self.by_proxy:
            return True
        return self.permits_target(packed_address(address))

    def permits_target(self, packed: bytes | None) -> bool:
        """Whether media may come from that address, whoever connects to it."""
        if packed is None:
            return False
        if is_public(packed):
            return True
        found = ip_address(packed)
        return any(found.version == network.version and found in network for network in self.allow)


# What RFC 3986 allows, and nothing that two parsers could read differently (backslash, blanks, controls).
_URL = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%|{}^`\"<>]+", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9\-._]+|\[[0-9A-Fa-f:.]+\]", re.ASCII)


def checked_url(url: str) -> SplitResult:
    """``url`` split, when it is one we are ready to follow; raises BlockedAddress with the reason otherwise."""
    if not _URL.fullmatch(url):
        raise BlockedAddress("The media's URL holds characters that a URL may not hold.")
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError:
        raise BlockedAddress("The media's URL is malformed.") from None
    if split.scheme not in ("http", "https"):
        raise BlockedAddress("The media's URL is neither http nor https.")
    if "@" in split.netloc:
        raise BlockedAddress("The media's URL holds credentials.")
    host = split.netloc.removesuffix(f":{port}") if port is not None else split.netloc.removesuffix(":")
    if port == 0 or not _HOST.fullmatch(host):
        raise BlockedAddress("The media's URL names no valid host.")
    return split
