"""Parsers of configuration values: text in, value out, Invalid (with a reason that repeats no secret) otherwise."""

import base64
import binascii
import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Parser = Callable[[str], Any]

_COLONS_OF_IPV6 = 2


class Invalid(ValueError):
    """The text is not what the variable takes."""


def text(value: str) -> str:
    """Any text, trimmed."""
    return value.strip()


def path(value: str) -> Path:
    """A file system path, absolute."""
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:
        raise Invalid("it names the home of a user that is not there") from None


def integer(low: int, high: int | None = None) -> Parser:
    """A parser of whole numbers from ``low`` to ``high``."""

    def parse(value: str) -> int:
        try:
            found = int(value.strip())
        except ValueError:
            raise Invalid(f"{value!r} is not a whole number") from None
        if found < low or (high is not None and found > high):
            raise Invalid(f"{found} is out of range")
        return found

    return parse


def number(low: float, high: float) -> Parser:
    """A parser of numbers from ``low`` to ``high``."""

    def parse(value: str) -> float:
        try:
            found = float(value.strip())
        except ValueError:
            raise Invalid(f"{value!r} is not a number") from None
        if not low <= found <= high:
            raise Invalid(f"{found} is out of range")
        return found

    return parse


def boolean(value: str) -> bool:
    """True or false in the usual spellings."""
    word = value.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise Invalid(f"{value!r} is neither true nor false")


def choice(*allowed: str) -> Parser:
    """A parser of one of a few words."""

    def parse(value: str) -> str:
        word = value.strip().lower()
        if word not in allowed:
            raise Invalid(f"{value!r} is not one of them")
        return word

    return parse


def words(value: str) -> tuple[str, ...]:
    """Words separated by commas or blanks, lower case."""
    return tuple(value.lower().replace(",", " ").split())


def host_names(value: str) -> tuple[str, ...]:
    """Host names without ports, separated by commas or blanks, lower case."""
    found = words(value)
    for word in found:
        if not re.fullmatch(r"[\w.-]+", word):
            raise Invalid(f"{word!r} is not the name of a host alone")
    return found


def networks(value: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """CIDR networks separated by commas or blanks."""
    try:
        return tuple(ip_network(word, strict=False) for word in words(value))
    except ValueError as error:
        raise Invalid(str(error)) from None


def http_url(value: str) -> str:
    """An absolute http or https URL without a trailing slash."""
    return _url(value, ("http", "https")).rstrip("/")


def base_url(value: str) -> str:
    """An absolute http(s) URL or a path that begins with a slash, without a trailing slash."""
    value = value.strip()
    return value.rstrip("/") if value.startswith("/") else http_url(value)


def proxy_url(value: str) -> str:
    """The URL of an HTTP or SOCKS5 proxy that resolves names itself."""
    return _url(value, ("http", "https", "socks5h"))


def redis_url(value: str) -> str:
    """A URL as redis-py takes it."""
    value = value.strip()
    return value if value.startswith("unix://") else _url(value, ("redis", "rediss"))


def endpoint(value: str) -> str:
    """``host:port`` or an http(s) URL; kept as given, without a trailing slash."""
    value = value.strip().rstrip("/")
    found = http_url(value) if "://" in value else host_port(value)
    if "_" in urlsplit(found if "://" in found else f"//{found}").netloc:
        raise Invalid(f"no S3 client takes an underscore in a host's name ({value!r}); give the host another name")
    return found


def host_port(value: str) -> str:
    """``host`` or ``host:port``."""
    value = value.strip()
    try:
        split = urlsplit(f"//{value}")
        found = split.hostname, split.port
    except ValueError:
        raise Invalid(f"{value!r} has no valid port") from None
    if not found[0] or split.path or "@" in value:
        raise Invalid(f"{value!r} is not host:port")
    return value


def listen_address(value: str) -> tuple[str, int | None]:
    """``host``, ``:port`` or ``host:port``, IPv6 in brackets where a port follows; an empty host is every address."""
    value = value.strip()
    bare = value if value.startswith("[") or value.count(":") < _COLONS_OF_IPV6 else f"[{value}]"
    try:
        split = urlsplit(f"//{bare}")
        host, port = split.hostname or "", split.port
    except ValueError as error:
        raise Invalid(f"{value!r}: {error}") from None
    if split.netloc != bare or not re.fullmatch(r"[\w.:%-]*", host) or bare.endswith(":") or "@" in bare or port == 0:
        raise Invalid(f"{value!r} is none")
    return host, port


def fernet_key(value: str) -> str:
    """A Fernet key: 32 bytes in urlsafe base64."""
    value = value.strip()
    try:
        if len(base64.urlsafe_b64decode(value)) == 32:  # noqa: PLR2004 - the key's length by specification
            return value
    except (ValueError, binascii.Error):
        pass
    raise Invalid("it is something else")


def _url(value: str, schemes: tuple[str, ...]) -> str:
    value = value.strip()
    if "://" not in value:
        raise Invalid(f"{schemes[0]}:// is missing in front of it")
    try:
        split = urlsplit(value)
        found = split.hostname, split.port
    except ValueError:
        raise Invalid("it is not a URL") from None
    if split.scheme not in schemes or not found[0]:
        raise Invalid(f"it is not a URL of {', '.join(schemes)} with a host")
    return value
