"""Holds every answer that a test gets against the service's own description."""

import json
import re
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator, FormatChecker

from web.app import create_app
from web.parts import Parts

JSON = "application/json"
FORMATS = FormatChecker([])


@FORMATS.checks("date-time")
def is_moment(value: object) -> bool:
    """Whether ``value`` is RFC 3339 in UTC, as we write it."""
    return bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", str(value)))


@cache
def document() -> dict[str, Any]:
    """The description, of an app that stands on nothing."""
    settings = SimpleNamespace(public_base_url="/api/downloader")
    app = create_app(cast("Parts", SimpleNamespace(settings=settings)))
    return app.extensions["description"].document


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    """For ``schema``, with the description's components at hand."""
    return Draft202012Validator(schema | {"components": document()["components"]}, format_checker=FORMATS)


def component(name: str) -> Draft202012Validator:
    return validator({"$ref": f"#/components/schemas/{name}"})


def check(method: str, target: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Fail unless the answer is one that the description tells of."""
    operation = _operation(method, urlsplit(target).path)
    said = operation["responses"].get(str(status)) if operation else None
    if said is None:
        said = document()["components"]["responses"]["Elsewhere"]
        assert f"- {status} `" in said["description"], f"{method} {target}: {status} is not described"
    for name, header in said.get("headers", {}).items():
        assert name in headers or not header["required"], f"{method} {target}: {status} has no {name}"
    if method == "HEAD":
        return
    content = said.get("content", {})
    kind = headers.get("Content-Type", "").partition(";")[0]
    if not content:
        assert not body, f"{method} {target}: {status} has a body"
        of_file = status == HTTPStatus.NOT_MODIFIED
        assert of_file or "Content-Type" not in headers, f"{method} {target}: {status} has a type and no body"
        return
    assert kind in content or "*/*" in content, f"{method} {target}: {status} is {kind}"
    if kind == JSON and JSON in content:
        validator(content[JSON]["schema"]).validate(json.loads(body))


def _operation(method: str, path: str) -> dict[str, Any] | None:
    for template, methods in document()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            return methods.get(method.lower())
    return None
