"""The errors that requests are answered with. Statuses and codes are those of ``web.errors`` where it has them."""

from http import HTTPStatus
from typing import Final

from downloader.errors import DownloadError, StorageFailed, StoreUnavailable
from downloader.store import NotCancellable, QueueFull, StillRunning
from web import body
from web.errors import CODES, STATUS_OF
from web.openapi.operation import Fault, Header

RETRY_AFTER: Final = Header("Retry-After", "Seconds to wait before another try.")


def _ours(kind: type[DownloadError], says: str) -> Fault:
    status = STATUS_OF[kind]
    waits = status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)
    return Fault(status, kind.code, says, headers=(RETRY_AFTER,) if waits else ())


def _http(status: HTTPStatus, says: str) -> Fault:
    return Fault(status, CODES[status][0], says)


STORE: Final = _ours(StoreUnavailable, "Postgres cannot be reached.")
STORAGE: Final = _ours(StorageFailed, "The disk or the artifact store does not answer, or refuses.")
NOT_CANCELLABLE: Final = _ours(NotCancellable, "The job has ended already.")
RUNNING: Final = _ours(StillRunning, "The job has not ended; cancel it first.")
QUEUE_FULL: Final = _ours(QueueFull, "As many jobs are unfinished as may be.")

BAD_REQUEST: Final = _http(HTTPStatus.BAD_REQUEST, "The body ends early, or its framing is broken.")
TIMEOUT: Final = _http(HTTPStatus.REQUEST_TIMEOUT, f"The body took longer than {body.TIMEOUT_SECONDS:.0f} s to arrive.")
TOO_LARGE: Final = _http(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {body.MAX_BODY >> 10} KiB.")
WRONG_TYPE: Final = _http(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body is not JSON, or compressed.")

INVALID_JSON: Final = Fault(HTTPStatus.BAD_REQUEST, "invalid_json", "The body is not a JSON object.")
INVALID_URL: Final = Fault(HTTPStatus.BAD_REQUEST, "invalid_url", "`url` is missing, or not an http or https URL.")
INVALID_OPTIONS: Final = Fault(
    HTTPStatus.BAD_REQUEST, "invalid_options", "An option has the wrong type or an unknown value; `error` names it."
)
NO_ROOM: Final = Fault(
    HTTPStatus.INSUFFICIENT_STORAGE, "insufficient_storage", "The disk is too full for another job.", schema="NoRoom"
)

NOT_FOUND: Final = _http(HTTPStatus.NOT_FOUND, "There is no such job.")
NO_SUCH_FILE: Final = _http(HTTPStatus.NOT_FOUND, "There is no such job, or it has no such file.")
MISSING: Final = Fault(HTTPStatus.NOT_FOUND, "artifact_missing", "The file is gone; post the job again.")
NOT_READY: Final = Fault(HTTPStatus.CONFLICT, "artifact_not_ready", "The job has no file yet, or failed.")
EXPIRED: Final = Fault(HTTPStatus.GONE, "artifact_expired", "The file's time is over; post the job again.")
CHANGED: Final = Fault(
    HTTPStatus.PRECONDITION_FAILED, "precondition_failed", "If-Match or If-Unmodified-Since do not hold."
)
BEYOND: Final = Fault(
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    "range_not_satisfiable",
    "The file ends before the range begins.",
    headers=(Header("Content-Range", "`bytes */` and the file's size."),),
)

BUG: Final = Fault(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "The service met an unexpected error.")

ELSEWHERE: Final = (
    _http(HTTPStatus.NOT_FOUND, "There is nothing at this address."),
    _http(HTTPStatus.METHOD_NOT_ALLOWED, "This address does not take that method; Allow says which."),
    Fault(HTTPStatus.BAD_REQUEST, "bad_request", "The request is malformed."),
    Fault(HTTPStatus.REQUEST_URI_TOO_LONG, "bad_request", "The request's first line is too long."),
    Fault(HTTPStatus.EXPECTATION_FAILED, "bad_request", "The Expect header is not known."),
    Fault(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "bad_request", "The headers are too large."),
    Fault(HTTPStatus.NOT_IMPLEMENTED, "bad_request", "The transfer coding is not known."),
)
"""What a request that reaches no view is answered with."""
