"""Which part of a file a request gets, by the letter of RFC 9110."""

from datetime import UTC, datetime
from http import HTTPStatus

import pytest
from flask import Request
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder

from web.ranges import Entity, Slice, choose

FILE = Entity(size=1000, etag="abc-1", modified=datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC))
DATE = "Fri, 02 Jan 2026 03:04:05 GMT"
EARLIER = "Fri, 02 Jan 2026 03:04:04 GMT"
WHOLE = Slice(HTTPStatus.OK, 0, 1000)
NOT_MODIFIED = Slice(HTTPStatus.NOT_MODIFIED)
FAILED = Slice(HTTPStatus.PRECONDITION_FAILED)
UNSATISFIABLE = Slice(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)


def ask(entity: Entity = FILE, method: str = "GET", **headers: str) -> Slice:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return choose(Request(EnvironBuilder(method=method, headers=named).get_environ()), entity)


@pytest.mark.parametrize(
    ("text", "start", "length"),
    [
        ("0-0", 0, 1),
        ("0-", 0, 1000),
        ("5-20", 5, 16),
        ("999-", 999, 1),
        ("-1", 999, 1),
        ("-5000", 0, 1000),
        ("990-5000", 990, 10),
    ],
)
def test_one_range(text, start, length):
    found = ask(Range=f"bytes={text}")
    assert found == Slice(HTTPStatus.PARTIAL_CONTENT, start, length)
    assert found.headers(FILE) == {
        "Content-Range": f"bytes {start}-{start + length - 1}/1000",
        "Content-Length": str(length),
    }


@pytest.mark.parametrize("text", ["bytes=1000-", "bytes=5000-6000"])
def test_a_range_beyond_the_end(text):
    assert ask(Range=text) == UNSATISFIABLE
    assert UNSATISFIABLE.headers(FILE) == {"Content-Range": "bytes */1000"}


def test_nothing_of_an_empty_file():
    assert ask(Entity(0, "e", FILE.modified), Range="bytes=0-1") == UNSATISFIABLE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=x-y",
        "bytes=5-2",
        "bytes=--1",
        "bytes=1-2,4-5",
        "pages=1-2",
        "bytes=1-2-3",
        "bytes=-0",
        "0-5",
    ],
)
def test_a_range_that_makes_no_sense_is_ignored(text):
    assert ask(Range=text) == WHOLE


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)), st.integers(0, 3000))
def test_any_range_header_gets_bytes_that_exist(text, size):
    entity = Entity(size, "e", FILE.modified)
    for header in (text, f"bytes={text}"):
        found = ask(entity, Range=header)
        if found.status is HTTPStatus.PARTIAL_CONTENT:
            assert found.length > 0
        assert 0 <= found.start <= found.start + found.length <= size


@pytest.mark.parametrize(
    ("condition", "honoured"),
    [('"abc-1"', True), (DATE, True), ('"other"', False), ('W/"abc-1"', False), (EARLIER, False), ("rubbish", False)],
)
def test_if_range(condition, honoured):
    assert (ask(Range="bytes=1-2", If_Range=condition) != WHOLE) is honoured


def test_head_and_a_range():
    assert ask(method="HEAD", Range="bytes=1-2") == WHOLE


def test_validators():
    assert ask(If_None_Match='"abc-1"') == NOT_MODIFIED
    assert ask(If_None_Match='W/"abc-1"') == NOT_MODIFIED
    assert ask(If_None_Match="*") == NOT_MODIFIED
    assert ask(If_None_Match='"other", "abc-1"', Range="bytes=1-2") == NOT_MODIFIED
    assert ask(If_Modified_Since=DATE) == NOT_MODIFIED
    assert ask(If_Modified_Since=EARLIER) == WHOLE
    assert ask(If_None_Match='"other"', If_Modified_Since=DATE) == WHOLE
    assert ask(If_Match='"other"') == FAILED
    assert ask(If_Match='W/"abc-1"') == FAILED
    assert ask(If_Match='"abc-1"') == ask(If_Match="*") == WHOLE
    assert ask(If_Unmodified_Since=EARLIER) == FAILED
    assert ask(If_Unmodified_Since=DATE) == WHOLE
    assert NOT_MODIFIED.headers(FILE) == {}
    assert FILE.headers == {"ETag": '"abc-1"', "Last-Modified": DATE, "Accept-Ranges": "bytes"}
