"""The client of TypeType-Server: asks which streams a source offers, patiently but not for ever."""

import random
import re
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlsplit

import msgspec

from downloader.clock import Clock
from downloader.errors import ExtractionFailed, UpstreamUnavailable
from downloader.typetype.http import Answer, AnswerTooLarge, Connection, TransferFailed
from downloader.typetype.models import clean, parse_answer
from downloader.typetype.offer import Offer

TOTAL_SECONDS = 45.0
MAX_ANSWER_BYTES = 32 << 20
_TRIES = 3
_FIRST_PAUSE = 0.25  # seconds; doubled each time, with jitter
_LONGEST_PAUSE = 10.0  # seconds to wait here; a longer Retry-After is the runner's business
_LONGEST_RETRY_AFTER = 300.0  # seconds
_SLICE = 0.1  # seconds between two checks while waiting
_MAX_SENTENCE = 300  # characters
_RETRIED_STATUS = frozenset({408, 429})
_YOUTUBE = ("youtube.com", "youtu.be", "youtube-nocookie.com")


class Client:
    """Asks one TypeType-Server. Any number of threads may share a client; each call borrows a warm connection.

    ``api_base`` has no trailing slash; ``rng`` gives the jitter of the pauses between tries.
    """

    def __init__(self, api_base: str, clock: Clock, rng: Callable[[], float] = random.random) -> None:
        self._api_base = api_base
        self._clock = clock
        self._rng = rng
        self._idle: list[Connection] = []

    def streams(
        self,
        url: str,
        *,
        authorization: str | None,
        request_id: str | None,
        check: Callable[[], None],
    ) -> Offer:
        """What the source at ``url`` offers.

        Raises ExtractionFailed (final: refused, or nothing we can use), UpstreamUnavailable (away or overloaded,
        after three tries within 45 s), and what ``check`` raises, at most 0.2 s after it would.
        """
        address = f"{self._api_base}{endpoint(url)}?url={quote(url, safe='')}"
        headers = _headers(authorization, request_id)
        deadline = self._clock.monotonic() + TOTAL_SECONDS
        for attempt in range(_TRIES):
            try:
                return parse_answer(self._once(address, headers, deadline, check), self._api_base)
            except UpstreamUnavailable as error:
                pause = max(self._backoff(attempt), error.retry_after or 0.0)
                ends = self._clock.monotonic() + pause
                if attempt == _TRIES - 1 or pause > _LONGEST_PAUSE or ends >= deadline:
                    raise
            self._wait_until(ends, check)
        raise AssertionError("unreachable: the last try returns or raises")

    def close(self) -> None:
        """End the idle connections."""
        while self._idle:
            self._idle.pop().close()

    def _once(self, address: str, headers: list[str], deadline: float, check: Callable[[], None]) -> bytes:
        connection = self._idle.pop() if self._idle else Connection()
        seconds = deadline - self._clock.monotonic()
        try:
            answer = connection.get(address, headers, seconds=seconds, max_bytes=MAX_ANSWER_BYTES, check=check)
        except TransferFailed as error:
            connection.close()
            raise UpstreamUnavailable(f"TypeType-Server cannot be reached: {error}") from None
        except AnswerTooLarge:
            connection.close()
            raise ExtractionFailed(f"TypeType-Server answered more than {MAX_ANSWER_BYTES >> 20} MiB") from None
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return _body(answer)

    def _backoff(self, attempt: int) -> float:
        return _FIRST_PAUSE * 2.0**attempt * (0.5 + self._rng())

    def _wait_until(self, moment: float, check: Callable[[], None]) -> None:
        while (left := moment - self._clock.monotonic()) > 0:
            check()
            self._clock.sleep(min(left, _SLICE))


def endpoint(url: str) -> str:
    """The path that resolves ``url``: YouTube's sources go through SABR."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    youtube = any(host == name or host.endswith(f".{name}") for name in _YOUTUBE)
    return "/streams/youtube/sabr" if youtube else "/streams"


def _headers(authorization: str | None, request_id: str | None) -> list[str]:
    """The request's headers; a value with control characters is left out, so none can smuggle in another."""
    given = {"Accept": "application/json", "Authorization": authorization, "X-Request-ID": request_id}
    return [f"{name}: {value}" for name, value in given.items() if value and value.isprintable()]


def _body(answer: Answer) -> bytes:
    """The body of a good answer; anything else as the error it stands for."""
    status = answer.status
    if 200 <= status < 300:  # noqa: PLR2004 - RFC 9110, successful
        return answer.body
    if status >= 500 or status in _RETRIED_STATUS:  # noqa: PLR2004 - RFC 9110, server error
        raise UpstreamUnavailable(
            f"TypeType-Server is not available (status {status})", retry_after=_retry_after(answer.headers)
        )
    if 300 <= status < 400:  # noqa: PLR2004 - RFC 9110, redirection
        raise ExtractionFailed(f"TypeType-Server redirects (status {status}); TYPETYPE_API_BASE must name it itself")
    sentence = _sentence(answer.body)
    raise ExtractionFailed(sentence or f"TypeType-Server refuses this source (status {status})")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds, of either form (RFC 9110, 10.2.3), capped; dates are counted from the answer's own."""
    value = headers.get("retry-after", "")
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), _LONGEST_RETRY_AFTER)
    try:
        until = parsedate_to_datetime(value)
        since = parsedate_to_datetime(headers.get("date", ""))
        seconds = (until.astimezone(UTC) - since.astimezone(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)


class _Refusal(msgspec.Struct):
    error: object = None
    message: object = None


def _sentence(body: bytes) -> str:
    """The server's own words about a refusal: one line, bounded, without any URL's query; empty when there are none."""
    text = ""
    try:
        refusal = msgspec.json.decode(body, type=_Refusal)
        text = next((word for word in (refusal.error, refusal.message) if isinstance(word, str) and word), "")
    except (ValueError, RecursionError):
        if not body.lstrip().startswith((b"<", b"{", b"[")):
            text = body[: _MAX_SENTENCE * 8].decode("utf-8", "ignore")
    return clean(re.sub(r"(https?://[^\s?#]*)[?#]\S*", r"\1", text[: _MAX_SENTENCE * 8]), _MAX_SENTENCE)
