"""Where Postgres is: URLs as libpq and JDBC write them, made into what libpq takes.

libpq would tell at every connection what is wrong, in words that may repeat a part of the password.
"""

import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from downloader.parse import Invalid, boolean

_KNOWN = """
host hostaddr port dbname user password passfile require_auth channel_binding connect_timeout client_encoding options
application_name fallback_application_name keepalives keepalives_idle keepalives_interval keepalives_count
tcp_user_timeout replication gssencmode krbsrvname gsslib gssdelegation sslmode sslnegotiation sslcompression sslcert
sslkey sslpassword sslcertmode sslrootcert sslcrl sslcrldir sslsni requirepeer ssl_min_protocol_version
ssl_max_protocol_version service target_session_attrs load_balance_hosts
"""
PARAMETERS = frozenset(_KNOWN.split())
"""What may follow the question mark: libpq's manual, "Parameter Key Words"."""

_HOST = r"(?:\[[^][]+\]|[^][:,]*)(?::\d*)?"
_HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*")
# Whitespace, and what is not the beginning of a percent-encoded character other than NUL.
_UNCLEAN = re.compile(r"\s|%(?![0-9A-Fa-f]{2})|%00|#")


def database_url(value: str) -> str:
    """A URL that libpq takes; one of JDBC is translated. Invalid never repeats what may be a part of a password."""
    value = value.strip().removeprefix("jdbc:")
    try:
        split = urlsplit(value)
    except ValueError:
        raise Invalid("it is not a URL") from None
    if split.scheme not in ("postgres", "postgresql"):
        raise Invalid(f"the scheme {split.scheme!r} is not postgres")
    if split.path in ("", "/") and not split.query:
        raise Invalid("it names no database")
    user, _, hosts = split.netloc.rpartition("@")
    clear = "@" not in user + split.path and not _UNCLEAN.search(value) and _HOSTS.fullmatch(hosts)
    parameters = _translated(_pairs(split.query))
    unknown = sorted(parameters.keys() - PARAMETERS)
    # Without a user in front, what looks like a parameter may be what follows a question mark in a password.
    if not clear or (unknown and not user and "@" in value):
        raise Invalid("a space or one of % / ? # @ in its user or password must be percent-encoded")
    if unknown:
        raise Invalid(f"libpq knows no parameter {unknown[0]!r}")
    query = "&".join(f"{name}={quote(text, safe='')}" for name, text in parameters.items())
    return f"postgresql://{split.netloc}{split.path}{'?' if query else ''}{query}"


def with_credentials(url: str, user: str, password: str) -> str:
    """``url`` with ``user`` and ``password`` where it has none of its own."""
    split = urlsplit(url)
    user = split.username or quote(user, safe="")
    secret = split.password or quote(password, safe="")
    if not url or not user:
        return url
    _, _, hosts = split.netloc.rpartition("@")
    return urlunsplit(split._replace(netloc=f"{user}{':' if secret else ''}{secret}@{hosts}"))


def _pairs(query: str) -> dict[str, str]:
    """The parameters of a query. A plus sign is one, as to libpq."""
    split = (pair.partition("=") for pair in query.split("&") if pair)
    return {unquote(name): unquote(text) for name, _, text in split}


def _translated(parameters: dict[str, str]) -> dict[str, str]:
    """``parameters`` with libpq's names for JDBC's ``ssl`` and ``currentSchema``."""
    found = dict(parameters)
    try:
        if boolean(found.pop("ssl", "false")):
            found.setdefault("sslmode", "require")
    except Invalid:
        raise Invalid("its parameter ssl is neither true nor false") from None
    if schema := found.pop("currentSchema", ""):
        escaped = re.sub(r"([\\\s])", r"\\\1", schema)
        found["options"] = f"{found.get('options', '')} -csearch_path={escaped}".strip()
    return found
