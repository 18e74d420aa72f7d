"""What a client gets instead of an answer: always JSON, ``{"error": sentence, "errorCode": code, "code": code}``."""

from collections.abc import Mapping
from http import HTTPStatus

import structlog
from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException

from downloader.errors import DownloadError, NotMigrated, StorageFailed, StoreUnavailable
from downloader.store import NotCancellable, QueueFull, StillRunning
from web.problem import document

log = structlog.get_logger(__name__)

RETRY_AFTER_SECONDS = 5

CODES = {
    HTTPStatus.BAD_REQUEST: ("bad_request", "The request is malformed."),
    HTTPStatus.NOT_FOUND: ("not_found", "There is nothing at this address."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", "This address does not take that method."),
    HTTPStatus.REQUEST_TIMEOUT: ("request_timeout", "The request's body took too long to arrive."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("body_too_large", "The request's body is larger than 64 KiB."),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ("unsupported_media_type", "The request's body must be application/json."),
}

STATUS_OF: dict[type[DownloadError], HTTPStatus] = {
    StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    StorageFailed: HTTPStatus.SERVICE_UNAVAILABLE,
    QueueFull: HTTPStatus.TOO_MANY_REQUESTS,
    NotCancellable: HTTPStatus.CONFLICT,
    StillRunning: HTTPStatus.CONFLICT,
}

_SENTENCE_OF: dict[type[DownloadError], str] = {
    # What psycopg2 says names hosts and users.
    StoreUnavailable: "The database cannot be reached; try again shortly.",
    NotMigrated: NotMigrated().message,
}


class Refusal(Exception):
    """A request that is answered with an error: HTTP status, stable code, sentence, and figures that clients read."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        sentence: str,
        *,
        headers: Mapping[str, str] | None = None,
        figures: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence
        self.headers = dict(headers or {})
        self.figures = dict(figures or {})


def not_found() -> Refusal:
    """The refusal for a job that does not exist."""
    return Refusal(HTTPStatus.NOT_FOUND, "not_found", "There is no such job.")


def install(app: Flask) -> None:
    """Let every error of ``app`` be answered as JSON."""
    app.register_error_handler(Refusal, _refusal)
    app.register_error_handler(DownloadError, _ours)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _bug)


def _refusal(error: Refusal) -> Response:
    answer = jsonify(document(error.code, error.sentence) | error.figures)
    answer.status_code = error.status
    answer.headers.update(error.headers)
    return answer


def _ours(error: DownloadError) -> Response:
    kind = next((kind for kind in type(error).__mro__ if kind in STATUS_OF), None)
    if kind is None:
        return _bug(error)
    status = STATUS_OF[kind]
    sentence = next((_SENTENCE_OF[each] for each in type(error).__mro__ if each in _SENTENCE_OF), error.message)
    answer = jsonify(document(error.code, sentence))
    answer.status_code = status
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        answer.headers["Retry-After"] = str(int(error.retry_after or RETRY_AFTER_SECONDS))
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        log.warning("unavailable", code=error.code, reason=error.message)
    return answer


def _http(error: HTTPException) -> Response:
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    code, sentence = CODES.get(status, (status.phrase.lower().replace(" ", "_"), f"{status.phrase}."))
    answer = jsonify(document(code, sentence))
    answer.status_code = status
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            answer.headers[name] = value
    return answer


def _bug(error: Exception) -> Response:
    log.error("unexpected error", exc_info=error)
    answer = jsonify(document("internal_error", "The service met an unexpected error."))
    answer.status_code = HTTPStatus.INTERNAL_SERVER_ERROR
    return answer
