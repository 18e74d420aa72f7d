"""Reading a request's JSON body within its limits of size, time and type."""

from http import HTTPStatus

from flask import Request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, RequestTimeout

from web.errors import Refusal
from web.together import at_most

MAX_BODY = 64 << 10
TIMEOUT_SECONDS = 10.0
# What is read and dropped of a body that is too large, so that a client still writing gets to see the answer.
_DRAIN_BYTES = 4 << 20
_DRAIN_SECONDS = 2.0


class _TooSlow(Exception):
    """The rest of a body that is dropped anyway does not come."""


def read_json(request: Request) -> bytes:
    """The body. Raises 408, 413, 415, or 400 when it ends early or its framing is broken."""
    kind = request.mimetype
    if kind not in ("", "application/json") and not (kind.startswith("application/") and kind.endswith("+json")):
        _drain(request)
        raise Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The request's body must be application/json."
        )
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        _drain(request)
        raise Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The request's body must not be compressed."
        )
    declared = request.content_length
    if declared is None or declared <= MAX_BODY:
        body = _read(request)
        if len(body) <= MAX_BODY:
            if declared is not None and len(body) < declared:
                raise BadRequest
            return body
    _drain(request)
    raise RequestEntityTooLarge


def _read(request: Request) -> bytes:
    """The body, or its beginning when it is too large: with chunks there is no length to look at."""
    try:
        with at_most(TIMEOUT_SECONDS, RequestTimeout()):
            return bytes(request.environ["wsgi.input"].read(MAX_BODY + 1))
    except (ParseException, OSError):
        raise BadRequest from None


def _drain(request: Request) -> None:
    """Read what the client still sends, up to a limit."""
    left = _DRAIN_BYTES
    stream = request.environ["wsgi.input"]
    try:
        with at_most(_DRAIN_SECONDS, _TooSlow()):
            while left > 0 and (piece := stream.read(min(left, 1 << 16))):
                left -= len(piece)
    except (ParseException, OSError, _TooSlow):
        return
