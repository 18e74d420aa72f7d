"""One S3 endpoint behind calls that are tried again and fail with errors of ours only."""

import random
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event
from typing import TYPE_CHECKING, Final, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as S3ConnectionError
from botocore.parsers import ResponseParserError

from downloader import errors
from downloader.config import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

S3Error = ClientError | BotoCoreError | ResponseParserError
S3_ERRORS: Final = (ClientError, BotoCoreError, ResponseParserError)
"""All that a call may raise: answers that refuse, no answer, and answers that are none."""

ATTEMPTS: Final = 6
POLL_SECONDS: Final = 0.2  # between two looks at check() while a call is under way
_FIRST_PAUSE: Final = 0.2  # seconds; doubled each time, up to the longest
_LONGEST_PAUSE: Final = 5.0
_CONNECT_SECONDS: Final = 5.0
_READ_SECONDS: Final = 60.0  # completing a large upload may take the server that long
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500
_FULL_STATUS: Final = 507
_FORBIDDEN: Final = "403"  # what a HEAD is told, whatever the reason
_MOST_SKEW: Final = 240.0  # seconds; servers refuse requests from five to fifteen minutes away
_TAKEN: Final = 412
_SKEWED: Final = "RequestTimeTooSkewed"

_AGAIN: Final = frozenset(
    {
        "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "InternalError",
        "ServiceUnavailable", "OperationAborted", "RequestTimeout", _SKEWED, "BadDigest",
        "IncompleteBody", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "ConditionalRequestConflict",
        "InvalidDigest",  # what Garage says of bytes that differ from their signed hash
    }
)  # fmt: skip
_FULL: Final = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientCapacity", "StorageFull"})
_SENTENCES: Final = {
    "NoSuchBucket": "The artifact store has no such bucket.",
    **dict.fromkeys(
        ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed", "401", "403"),
        "The artifact store refuses our credentials.",
    ),
}
_MISSING: Final = frozenset({"NoSuchKey", "NotFound", "404"})


class Stopped(Exception):
    """The caller's stop event was set while a call waited to be tried again."""


def endpoint_url(endpoint: str, *, tls: bool) -> str:
    """``endpoint`` (a URL or host:port) as a URL."""
    return endpoint if "://" in endpoint else f"{'https' if tls else 'http'}://{endpoint}"


def connect(settings: Settings, url: str, *, connections: int = 10, seconds: float | None = None) -> "S3Client":
    """A client of the endpoint ``url``, with no retries of its own; ``seconds`` bounds connecting and reading.

    Over TLS it trusts what OpenSSL does by default: the system's certificates, or those of SSL_CERT_FILE.
    """
    return boto3.session.Session().client(
        "s3",
        endpoint_url=url,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key,
        verify=ssl.get_default_verify_paths().cafile,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if settings.s3_path_style else "virtual"},
            # Servers other than Amazon's often know no checksum trailers.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=connections,
            connect_timeout=seconds or _CONNECT_SECONDS,
            read_timeout=seconds or _READ_SECONDS,
            proxies={},
            tcp_keepalive=True,
        ),
    )


def attempt(call: Callable[[], T], stop: Event) -> T:
    """What ``call`` returns, tried up to six times with growing pauses while its failures may pass.

    Raises the S3 error of the last try as it is (the caller knows what a 404 or 412 means to it),
    and Stopped as soon as ``stop`` is set during a pause.
    """
    pause = _FIRST_PAUSE
    for _ in range(ATTEMPTS - 1):
        try:
            return call()
        except S3_ERRORS as error:
            if not may_pass(error):
                raise
        if stop.wait(pause * random.uniform(0.5, 1.5)):  # noqa: S311 - spreads retries
            raise Stopped
        pause = min(pause * 2, _LONGEST_PAUSE)
    return call()


def polled(call: Callable[[], T], check: Callable[[], None]) -> T:
    """What ``call`` returns; ``check`` is called meanwhile, and what it raises ends the wait, not the call."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="s3")
    try:
        future = pool.submit(call)
        while not wait([future], POLL_SECONDS).done:
            check()
        return future.result()
    finally:
        pool.shutdown(wait=False)


def may_pass(error: S3Error) -> bool:
    """True for what another try may cure: overload, the server's own failures, time-outs, clocks, lost bytes."""
    if isinstance(error, ClientError):
        found = status(error)
        overloaded = found == _TOO_MANY or (found >= _SERVER_ERROR and found != _FULL_STATUS and not unsupported(error))
        return code(error) in _AGAIN or (overloaded and code(error) not in _FULL)
    return isinstance(error, (HTTPClientError, S3ConnectionError, ResponseParserError))


def code(error: ClientError) -> str:
    """The S3 error code; an HTTP status where there is no body to name one (HEAD)."""
    found = str(error.response.get("Error", {}).get("Code", ""))
    return _SKEWED if found == _FORBIDDEN and skew(error) > _MOST_SKEW else found


def skew(error: ClientError) -> float:
    """Seconds between the server's clock, by its answer, and the one that requests are signed by; 0 when unknown."""
    try:
        theirs = parsedate_to_datetime(error.response["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, ValueError):
        return 0.0
    return abs((theirs.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def status(error: ClientError) -> int:
    """The HTTP status."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def missing(error: ClientError) -> bool:
    """True when there is no such object (a missing bucket is another matter)."""
    return code(error) in _MISSING


def unsupported(error: S3Error) -> bool:
    """True when the server knows the operation or one of its headers not."""
    return isinstance(error, ClientError) and code(error) == "NotImplemented"


def taken(error: S3Error) -> bool:
    """True when an object has the key and was not to be replaced."""
    return isinstance(error, ClientError) and status(error) == _TAKEN


def failure(error: S3Error, *, required: int = 0) -> errors.DownloadError:
    """What a failed call means for the job; the message repeats nothing of the request."""
    if not isinstance(error, ClientError):
        return errors.StorageFailed(f"The artifact store cannot be reached ({type(error).__name__}).")
    found = code(error)
    if found in _FULL or status(error) == _FULL_STATUS:
        return errors.InsufficientStorage("The artifact store is full.", required=required)
    if found in _SENTENCES:
        return errors.StorageRefused(_SENTENCES[found])
    if found == _SKEWED:
        return errors.StorageFailed(f"The artifact store's clock and ours are {skew(error):.0f} seconds apart.")
    name = found if found.isascii() and found.isalnum() else "unknown"
    if may_pass(error) or found == "NoSuchUpload":
        return errors.StorageFailed(f"The artifact store failed ({name}).")
    return errors.StorageRefused(f"The artifact store refuses the request ({name}).")
