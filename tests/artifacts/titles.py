"""Titles of every nasty kind, and the name under which a browser saves what an answer brings."""

import re
from collections.abc import Mapping
from urllib.parse import unquote

TITLES = [
    "Plain",
    "Quotes \" and 'single' ; semicolons, commas",
    "CR LF \r\nSet-Cookie: a=b",
    "slashes / and \\ back",
    "../../../etc/passwd",
    "percent %41 %zz 100%",
    "Ünïcödé 日本語 עברית",
    "👩‍👩‍👧‍👦 family + & = # ? *",
    "\u202eright to left\u202c",
    "x" * 300,
    "é" * 300,
    "🎬" * 300,
    "   ",
    "....",
    "con",
    "tilde ~ caret ^ brackets [] {} <>",
    "dots..in..it ... and a trailing one.",
    "\x00\x1f\x7f\u2028 controls",
]


def saved_as(headers: Mapping[str, str]) -> str:
    """The file's name by RFC 6266: ``filename*`` (RFC 8187) goes before ``filename``. Fails on anything ill-formed."""
    disposition = headers["Content-Disposition"]
    found = re.fullmatch(
        r"(?:attachment|inline); filename=\"([^\"\\]*)\"(?:; filename\*=UTF-8''([\w!#$&+.^`|~%-]+))?",
        disposition,
        flags=re.ASCII,
    )
    assert found, disposition
    plain, extended = found.groups()
    return plain if extended is None else unquote(extended, errors="strict")
