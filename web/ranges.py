"""Conditional and range requests of RFC 9110 over one file: which answer a request for it gets."""

from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from flask import Request
from werkzeug.http import http_date, parse_if_range_header, parse_range_header


@dataclass(frozen=True, slots=True)
class Entity:
    """A file as HTTP sees it: size in bytes, strong validator (without quotes), time of last change (UTC)."""

    size: int
    etag: str
    modified: datetime

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every answer about it, also of a 304 and a 416."""
        return {"ETag": f'"{self.etag}"', "Last-Modified": http_date(self.modified), "Accept-Ranges": "bytes"}


@dataclass(frozen=True, slots=True)
class Slice:
    """The answer to give: its status, and the bytes from ``start`` (``length`` of them; 0 when there is no body)."""

    status: HTTPStatus
    start: int = 0
    length: int = 0

    def headers(self, entity: Entity) -> dict[str, str]:
        """Content-Range and Content-Length, where the status has them."""
        if self.status is HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return {"Content-Range": f"bytes */{entity.size}"}
        if self.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            return {}
        found = {"Content-Length": str(self.length)}
        if self.status is HTTPStatus.PARTIAL_CONTENT:
            found["Content-Range"] = f"bytes {self.start}-{self.start + self.length - 1}/{entity.size}"
        return found


def choose(request: Request, entity: Entity) -> Slice:
    """What to answer, by the order of RFC 9110 section 13.2.2. Several ranges at once get the whole file."""
    if not _if_match(request, entity):
        return Slice(HTTPStatus.PRECONDITION_FAILED)
    if _not_modified(request, entity):
        return Slice(HTTPStatus.NOT_MODIFIED)
    whole = Slice(HTTPStatus.OK, 0, entity.size)
    asked = request.headers.get("Range", "")
    if not asked or request.method != "GET" or not _if_range(request, entity):
        return whole
    found = parse_range_header(asked)
    if found is None or found.units != "bytes" or len(found.ranges) != 1:
        return whole
    start, end = found.ranges[0]
    if start < 0:
        start = max(0, entity.size + start)
    if start >= entity.size:
        return Slice(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
    end = entity.size if end is None else min(end, entity.size)
    return Slice(HTTPStatus.PARTIAL_CONTENT, start, end - start)


def _if_match(request: Request, entity: Entity) -> bool:
    if "If-Match" in request.headers:
        return request.if_match.contains(entity.etag)
    since = request.if_unmodified_since
    return since is None or entity.modified.replace(microsecond=0) <= since


def _not_modified(request: Request, entity: Entity) -> bool:
    if "If-None-Match" in request.headers:
        return request.if_none_match.contains_weak(entity.etag)
    since = request.if_modified_since
    return since is not None and entity.modified.replace(microsecond=0) <= since


def _if_range(request: Request, entity: Entity) -> bool:
    """Whether the Range may be honoured: a strong validator or the exact date says the client has this very file."""
    text = request.headers.get("If-Range", "").strip()
    if not text:
        return True
    if text.startswith("W/"):
        return False
    asked = parse_if_range_header(text)
    if asked.date is not None:
        return asked.date == entity.modified.replace(microsecond=0)
    return asked.etag == entity.etag
