"""Host rules as data: how each media host wants to be asked."""

from dataclasses import dataclass
from typing import Literal

from downloader.fetch.limits import MIB

Mode = Literal["header", "query"]

USER_AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRule:
    """What is special about the hosts under ``domains`` (each with all its subdomains).

    ``mode``: ``query`` hosts take ``&range=a-b`` where the settings allow it. ``chunk``: the largest range in bytes
    that the host serves at full speed. ``cookie``: the name of a cookie that travels in the URL's fragment as
    ``cookie=<name>%3D<value>`` and goes out as a Cookie header.
    """

    domains: tuple[str, ...]
    mode: Mode = "header"
    headers: tuple[str, ...] = ()
    cookie: str | None = None
    chunk: int | None = None


HOST_RULES = (
    HostRule(domains=("googlevideo.com",), mode="query", chunk=10 * MIB),
    HostRule(
        domains=("bilibili.com", "bilivideo.com", "bilivideo.cn", "akamaized.net", "hdslb.com"),
        headers=("Referer: https://www.bilibili.com",),
    ),
    HostRule(domains=("nicovideo.jp",), cookie="domand_bid"),
)

_PLAIN = HostRule(domains=())


def rule_for(host: str) -> HostRule:
    """The rule for ``host`` (lower case, a trailing dot does not matter)."""
    host = host.rstrip(".")
    for rule in HOST_RULES:
        if any(host == domain or host.endswith("." + domain) for domain in rule.domains):
            return rule
    return _PLAIN
