"""Sends a callback: one signed POST to the URL that a job named, and only to hosts that the operator allows."""

import ssl
from datetime import datetime
from typing import Final

import pycurl

from downloader import errors
from downloader.callbacks import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign, target
from downloader.clock import Clock, SystemClock
from downloader.config import Settings
from downloader.fetch.http import retry_after

_CONNECT_SECONDS: Final = 5
_TOTAL_SECONDS: Final = 15
_MAX_ANSWER: Final = 64 << 10  # bytes of an answer nobody reads
_TRY_AGAIN: Final = frozenset({408, 425, 429})


def send(url: str, body: bytes, settings: Settings, clock: Clock | None = None) -> None:
    """POST ``body`` (JSON), signed with CALLBACK_SECRET; returns once the receiver answered 2xx.

    Follows no redirect and uses no proxy. Raises BlockedAddress for a URL that is not allowed, UpstreamUnavailable for
    what another try may cure (no answer in 15 s, 5xx, 408, 425, 429; ``retry_after`` as the receiver asked),
    SourceForbidden for any other answer.
    """
    allowed = target(url, settings.callback_allow_hosts)
    if allowed is None:
        raise errors.BlockedAddress("Callbacks to this address are not allowed.")
    now = (clock or SystemClock()).now()
    timestamp = int(now.timestamp())
    status, pause = _post(
        allowed.geturl(),
        body,
        {
            "Content-Type": "application/json",
            "User-Agent": "TypeType-Downloader",
            TIMESTAMP_HEADER: str(timestamp),
            SIGNATURE_HEADER: sign(settings.callback_secret, timestamp, body),
        },
        now,
    )
    if status // 100 == 2:  # noqa: PLR2004 - the class of success
        return
    if status // 100 == 5 or status in _TRY_AGAIN:  # noqa: PLR2004 - the class of the server's own failures
        raise errors.UpstreamUnavailable(f"The callback's receiver answered {status}.", retry_after=pause)
    raise errors.SourceForbidden(f"The callback's receiver refused it with {status}.")


def _post(url: str, body: bytes, headers: dict[str, str], now: datetime) -> tuple[int, float | None]:
    """The HTTP status that a POST is answered with, and the seconds that its Retry-After asks for."""
    received, pause = 0, None

    def look(line: bytes) -> None:
        nonlocal pause
        name, _, value = line.decode("latin-1").partition(":")
        if name.lower() == "retry-after":
            pause = retry_after(value.strip(), now)

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
        curl.setopt(pycurl.HEADERFUNCTION, look)
        curl.setopt(pycurl.WRITEFUNCTION, discard)
        # The wheel's libcurl looks for certificates where another distribution keeps them.
        if authorities := ssl.get_default_verify_paths().cafile:
            curl.setopt(pycurl.CAINFO, authorities)
        try:
            curl.perform()
        except pycurl.error as error:
            # An answer too long to be read is an answer all the same.
            if error.args[0] != pycurl.E_WRITE_ERROR:
                raise errors.UpstreamUnavailable(
                    f"The callback's receiver cannot be reached (curl {error.args[0]})."
                ) from error
        return int(curl.getinfo(pycurl.RESPONSE_CODE)), pause
    finally:
        curl.close()
