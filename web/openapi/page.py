"""The description as one page of HTML: no script, no request, nothing of a stranger's."""

import base64
import hashlib
import re
from importlib.resources import files
from typing import Any, Final

from flask import render_template
from markupsafe import Markup, escape

from web.openapi.schemas import Schema

_STYLE: Final = (files("web.openapi") / "templates" / "docs.css").read_text(encoding="utf-8")
_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""The Content-Security-Policy of the page: its own style, an empty icon, and nothing else."""

_ALSO: Final = ("head", "options")


def page(description: Schema) -> str:
    """The page about ``description``; needs a Flask context."""
    return render_template(
        "docs.html",
        style=Markup(_STYLE),  # noqa: S704 - our own file
        info=description["info"],
        base=description["servers"][0]["url"],
        groups=[(tag, _operations(description, tag["name"])) for tag in description["tags"]],
        schemas=description["components"]["schemas"],
        elsewhere=description["components"]["responses"]["Elsewhere"],
        security=description["components"]["securitySchemes"],
        kind=kind,
        prose=prose,
    )


def _operations(description: Schema, tag: str) -> list[tuple[str, str, list[str], Schema]]:
    """(path, method, methods that are Flask's own, operation) for each operation with this tag."""
    found = []
    for path, methods in description["paths"].items():
        also = [method.upper() for method in methods if method in _ALSO]
        own = {method: each for method, each in methods.items() if method not in _ALSO and each["tags"] == [tag]}
        found += [(path, method.upper(), also, operation) for method, operation in own.items()]
    return found


def prose(text: str) -> Markup:
    """``text`` with what stands between backticks as code, and lines that begin with a dash as a list."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    lines = marked.split("\n")
    if not all(line.startswith("- ") for line in lines):
        return Markup(marked)  # noqa: S704 - escaped above
    return Markup("<ul>{}</ul>").format(
        Markup("").join(Markup("<li>{}</li>").format(_safe(line[2:])) for line in lines)
    )


def _safe(marked: str) -> Markup:
    return Markup(marked)  # noqa: S704 - escaped by whom made it


def kind(schema: Schema) -> Markup:
    """What a value of ``schema`` is, in a few words; components are linked. Null is said once for all, elsewhere."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#schema-{0}">{0}</a>').format(name)
    if "allOf" in schema:
        return kind(schema["allOf"][0])
    if "const" in schema or "enum" in schema:
        values = [value for value in schema.get("enum", [schema.get("const")]) if value is not None]
        return Markup(" · ").join(Markup("<code>{}</code>").format(value) for value in values)
    if "anyOf" in schema and not any("const" in option for option in schema["anyOf"]):
        return Markup(" or ").join(kind(option) for option in schema["anyOf"] if option != {"type": "null"})
    return _plain(schema)


def _plain(schema: Schema) -> Markup:
    types = schema.get("type", "anything")
    name = next(each for each in types if each != "null") if isinstance(types, list) else types
    if name == "array":
        return Markup("list of {}").format(kind(schema["items"]))
    if isinstance(schema.get("additionalProperties"), dict):
        return Markup("object of {}").format(kind(schema["additionalProperties"]))
    words = {"string": "text", "integer": "whole number", "boolean": "true · false"}
    formats = {"date-time": "time", "uri": "URL"}
    return Markup("{}{}").format(formats.get(schema.get("format", ""), words.get(name, name)), _limits(schema))


def _limits(schema: Schema) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    # What a number of 31 bits holds is no limit that anybody meets.
    ends: list[Any] = [least, most if most is not None and most < 1 << 30 else None]
    if ends[1] is not None:
        return f" {ends[0]} to {ends[1]}"
    return f" from {least}" if least else ""
