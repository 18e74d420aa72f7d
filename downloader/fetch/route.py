"""From a URL to a request: who may be connected to, which headers go out, in which mode ranges are asked for."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit, urlunsplit

from downloader.config import Settings
from downloader.errors import BlockedAddress
from downloader.fetch.guard import Policy, checked_url, host_address
from downloader.fetch.hosts import USER_AGENT, HostRule, Mode, rule_for

_PORTS = {"http": 80, "https": 443}
_AUTHORIZED = ("/proxy", "/sabr")


@dataclass(frozen=True, slots=True)
class Request:
    """One GET, ready to be sent: ``headers`` are whole lines; ``host`` is what budgets are kept by."""

    url: str
    host: str
    headers: tuple[str, ...]
    policy: Policy
    mode: Mode
    chunk: int | None


@runtime_checkable
class Follower(Protocol):
    """An exchange that wants to know where its answer comes from."""

    def redirected(self, request: Request) -> None:
        """Now it is ``request`` that is to be answered."""


class Router:
    """Makes requests for one job. ``authorization`` goes to TypeType-Server's media endpoints only."""

    def __init__(self, settings: Settings, *, authorization: str | None = None, request_id: str | None = None) -> None:
        self._base = urlsplit(settings.typetype_api_base)
        self._query_mode = settings.download_range_mode == "query"
        self._media = Policy(allow=settings.media_allow_networks, by_proxy=bool(settings.media_proxy_url))
        self._server = Policy(anywhere=True)
        self._identification = (f"X-Request-ID: {request_id}",) if _is_field(request_id) else ()
        self._authorization = (f"Authorization: {authorization}",) if _is_field(authorization) else ()

    def request(self, url: str, *, came_from: Request | None = None) -> Request:
        """The request for ``url``; raises BlockedAddress when it may not be followed.

        ``came_from`` is the request whose answer leads here, by a redirect or as a playlist: what comes from elsewhere
        does not hand out TypeType-Server's privilege. A cookie goes on to the hosts that it is for.
        """
        split = checked_url(url)
        host = (split.hostname or "").lower()
        target = urlunsplit(split._replace(fragment=""))
        authority = f"{host}:{_port(split)}"
        if self._is_server(split) and (came_from is None or came_from.policy == self._server):
            if _climbs(split.path):
                raise BlockedAddress("The media's path at TypeType-Server is not a plain one.")
            headers = (f"User-Agent: {USER_AGENT}", *self._identification, *self._authorize(split))
            return Request(target, authority, headers, self._server, "header", None)
        packed = host_address(host)
        if packed is not None and not self._media.permits_target(packed):
            raise BlockedAddress(f"The media's address {host} is not a public one.")
        rule = rule_for(host)
        headers = (
            f"User-Agent: {USER_AGENT}",
            *rule.headers,
            *(_cookie(split, rule.cookie) or _inherited(split, rule, came_from)),
        )
        mode: Mode = "query" if rule.mode == "query" and self._query_mode else "header"
        return Request(target, authority, headers, self._media, mode, rule.chunk)

    def _is_server(self, split: SplitResult) -> bool:
        base = self._base
        same = (split.scheme, split.hostname) == (base.scheme, base.hostname)
        return same and _port(split) == _port(base)

    def _authorize(self, split: SplitResult) -> tuple[str, ...]:
        path = split.path.removeprefix(self._base.path)
        asked = any(path == known or path.startswith(known + "/") for known in _AUTHORIZED)
        return self._authorization if asked else ()


def _port(split: SplitResult) -> int:
    return split.port or _PORTS.get(split.scheme, 0)


def _climbs(path: str) -> bool:
    """Whether what is asked for may be another path than it seems: curl and servers take dot segments out."""
    return not {".", ".."}.isdisjoint(unquote(path).replace("\\", "/").split("/"))


def _is_field(value: str | None) -> bool:
    """Whether a stranger's text may stand in a header line."""
    return bool(value) and value is not None and value.isascii() and value.isprintable()


def _cookie(split: SplitResult, name: str | None) -> tuple[str, ...]:
    if name is None:
        return ()
    for cookie in parse_qs(split.fragment).get("cookie", ()):
        found, _, value = cookie.partition("=")
        if found == name and value and _is_field(value) and not set(value) & set(';," '):
            return (f"Cookie: {name}={value}",)
    return ()


def _inherited(split: SplitResult, rule: HostRule, came_from: Request | None) -> tuple[str, ...]:
    """The cookie of ``came_from`` where the same rule is its host's and the scheme is no weaker."""
    if rule.cookie is None or came_from is None:
        return ()
    origin = urlsplit(came_from.url)
    if rule_for(origin.hostname or "") is not rule or (origin.scheme, split.scheme) == ("https", "http"):
        return ()
    return tuple(line for line in came_from.headers if line.startswith(f"Cookie: {rule.cookie}="))
