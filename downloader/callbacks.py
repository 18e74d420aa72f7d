"""Callbacks: a signed POST to the URL that a job named, and only to hosts that the operator allows.

A receiver recomputes the signature over ``<timestamp>.<body>`` with the shared secret, and refuses old timestamps.
"""

import hashlib
import hmac
from collections.abc import Collection
from datetime import UTC
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from downloader import errors
from downloader.clock import Clock, SystemClock
from downloader.config import Settings
from downloader.job import Job

TIMESTAMP_HEADER: Final = "X-TypeType-Timestamp"
SIGNATURE_HEADER: Final = "X-TypeType-Signature"
_CONNECT_SECONDS: Final = 5
_TOTAL_SECONDS: Final = 15
_MAX_ANSWER: Final = 64 << 10  # bytes of an answer nobody reads
_TRY_AGAIN: Final = frozenset({408, 425, 429})


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """``sha256=`` and the hex HMAC-SHA256 of ``<timestamp>.<body>``; ``timestamp`` in seconds since 1970."""
    message = str(timestamp).encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def allowed(url: str, hosts: Collection[str]) -> bool:
    """True when callbacks may go to ``url``: plain http or https, to one of ``hosts`` (lower case), no user in it."""
    return _target(url, hosts) is not None


def body(job: Job, base: str, clock: Clock) -> bytes:
    """How an ended ``job`` is told, as JSON: camelCase, absent rather than null; links stand below ``base``."""
    artifact = job.artifact
    standing = artifact is not None and (artifact.expires_at is None or artifact.expires_at > clock.now())
    fields: dict[str, Any] = {
        "id": job.id,
        "url": job.url,
        "status": job.status,
        "stage": job.stage,
        "errorCode": job.error_code,
        "error": job.error,
        "title": job.title or None,
        "artifactUrl": f"{base}/jobs/{job.id}/artifact" if standing else None,
        "finishedAt": job.finished_at.astimezone(UTC) if job.finished_at else None,
        "totalMs": job.total_ms,
    }
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def send(url: str, body: bytes, settings: Settings, clock: Clock | None = None) -> None:
    """POST ``body`` (JSON), signed with CALLBACK_SECRET; returns once the receiver answered 2xx.

    Follows no redirect and uses no proxy. Raises BlockedAddress for a URL that is not allowed, UpstreamUnavailable for
    what another try may cure (no answer in 15 s, 5xx, 408, 425, 429), SourceForbidden for any other answer.
    """
    target = _target(url, settings.callback_allow_hosts)
    if target is None:
        raise errors.BlockedAddress("Callbacks to this address are not allowed.")
    timestamp = int((clock or SystemClock()).now().timestamp())
    status = _post(
        target.geturl(),
        body,
        {
            "Content-Type": "application/json",
            "User-Agent": "TypeType-Downloader",
            TIMESTAMP_HEADER: str(timestamp),
            SIGNATURE_HEADER: sign(settings.callback_secret, timestamp, body),
        },
    )
    if status // 100 == 2:  # noqa: PLR2004 - the class of success
        return
    if status // 100 == 5 or status in _TRY_AGAIN:  # noqa: PLR2004 - the class of the server's own failures
        raise errors.UpstreamUnavailable(f"The callback's receiver answered {status}.")
    raise errors.SourceForbidden(f"The callback's receiver refused it with {status}.")


def _target(url: str, hosts: Collection[str]) -> SplitResult | None:
    """``url`` as it will be asked for, without its fragment; None when it is not allowed."""
    # What parsers disagree about is refused, so that the host that is checked is the host that is called.
    if not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>{}|^`'):
        return None
    try:
        split = urlsplit(url)
        host, port = split.hostname or "", split.port
    except ValueError:
        return None
    if split.scheme not in ("http", "https") or "@" in split.netloc or host not in hosts:
        return None
    netloc = f"[{host}]" if ":" in host else host
    return split._replace(netloc=f"{netloc}:{port}" if port else netloc, fragment="")


def _post(url: str, body: bytes, headers: dict[str, str]) -> int:
    """The HTTP status that a POST is answered with."""
    import pycurl  # noqa: PLC0415 - the web checks callback URLs and sends none

    received = 0

    def discard(data: bytes) -> int:
        nonlocal received
        received += len(data)
        return len(data) if received <= _MAX_ANSWER else -1

    curl = pycurl.Curl()
    try:
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.POST, 1)
        curl.setopt(pycurl.POSTFIELDS, body)
        curl.setopt(pycurl.HTTPHEADER, [*(f"{name}: {value}" for name, value in headers.items()), "Expect:"])
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.FOLLOWLOCATION, 0)
        curl.setopt(pycurl.PROXY, "")
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.CONNECTTIMEOUT, _CONNECT_SECONDS)
        curl.setopt(pycurl.TIMEOUT, _TOTAL_SECONDS)
        curl.setopt(pycurl.WRITEFUNCTION, discard)
        try:
            curl.perform()
        except pycurl.error as error:
            # An answer too long to be read is an answer all the same.
            if error.args[0] != pycurl.E_WRITE_ERROR:
                raise errors.UpstreamUnavailable(
                    f"The callback's receiver cannot be reached (curl {error.args[0]})."
                ) from error
        return int(curl.getinfo(pycurl.RESPONSE_CODE))
    finally:
        curl.close()
