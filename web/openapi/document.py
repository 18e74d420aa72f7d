"""The OpenAPI document: the app's own routes, with what is known of each."""

import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final

from flask import Flask
from werkzeug.routing import Rule

from downloader import __version__
from web.openapi import faults, schemas, wishes
from web.openapi.operation import JSON, Answer, Fault, Header, Operation
from web.openapi.operations import OPERATIONS, PATHS, TAGS
from web.openapi.schemas import Schema, reference

_ARGUMENT: Final = re.compile(r"<(?:\w+:)?(\w+)>")
# A range in a HEAD is ignored.
_RANGES: Final = ("206", "416")
_INTRODUCTION: Final = (
    "Post a URL, watch the job, fetch the file. Every error is JSON: a sentence for people in `error`, a stable code "
    "in `errorCode`. What does not apply is absent, never null. Every GET answers HEAD as well."
)
_AUTHORIZATION: Final[Schema] = {
    "type": "apiKey",
    "in": "header",
    "name": "Authorization",
    "description": "Handed on to TypeType-Server when the job is resolved. Sealed meanwhile, never answered. The "
    "service itself asks for none: a job's id is what it takes.",
}


def document(app: Flask, base: str) -> Schema:
    """The description of ``app``; clients reach it at ``base`` (PUBLIC_BASE_URL, or empty).

    Raises KeyError for a view that nobody has described.
    """
    paths: dict[str, Schema] = {}
    for rule in app.url_map.iter_rules():
        path = _ARGUMENT.sub(lambda found: f"{{{PATHS[found[1]][0]}}}", rule.rule)
        paths.setdefault(path, {}).update(_methods(rule))
    ordered = sorted(paths.items(), key=lambda item: _place(item[1]))
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "TypeType-Downloader",
            "version": __version__,
            "description": _INTRODUCTION,
            "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        },
        # Without a base: where this document was found.
        "servers": [{"url": base or "."}],
        "tags": [{"name": name, "description": says} for name, says in TAGS.items()],
        "paths": dict(ordered),
        "components": {
            "schemas": schemas.components() | wishes.components(),
            "responses": {"Elsewhere": _elsewhere()},
            "securitySchemes": {"authorization": _AUTHORIZATION},
        },
    }


def _place(methods: Schema) -> int:
    """Where a path stands: by the first of its operations, in the order in which those are written."""
    order = {operation.name: place for place, operation in enumerate(OPERATIONS.values())}
    return min(order.get(each["operationId"], len(order)) for each in methods.values())


def _methods(rule: Rule) -> Iterator[tuple[str, Schema]]:
    operation = OPERATIONS[rule.endpoint]
    arguments = [_argument(name) for name in _ARGUMENT.findall(rule.rule)]
    for method in sorted(rule.methods or ()):
        if method == "OPTIONS":
            yield "options", _allowed(operation, arguments)
        else:
            yield method.lower(), _operation(operation, arguments, head=method == "HEAD")


def _argument(name: str) -> Schema:
    shown, says, schema = PATHS[name]
    return {"name": shown, "in": "path", "required": True, "description": says, "schema": schema}


def _operation(operation: Operation, arguments: list[Schema], *, head: bool) -> Schema:
    found: Schema = {
        "operationId": _named("head", operation) if head else operation.name,
        "tags": [operation.tag],
        "summary": f"{operation.summary}: the headers alone" if head else operation.summary,
        "parameters": arguments
        + [
            {"name": each.name, "in": each.where, "description": each.says, "schema": each.schema}
            for each in operation.parameters
        ],
    }
    if operation.says and not head:
        found["description"] = operation.says
    if operation.body:
        found["requestBody"] = {"required": True, "content": {JSON: {"schema": reference(operation.body)}}}
    found["responses"] = _responses(operation, head=head)
    return found | operation.more


def _named(prefix: str, operation: Operation) -> str:
    return prefix + operation.name[0].upper() + operation.name[1:]


def _allowed(operation: Operation, arguments: list[Schema]) -> Schema:
    """Flask's own answer to OPTIONS."""
    answer = Answer(HTTPStatus.OK, "No body.", media="", headers=(Header("Allow", "The methods."),))
    return {
        "operationId": _named("options", operation),
        "tags": [operation.tag],
        "summary": "Which methods this address takes",
        "parameters": arguments,
        "responses": {str(answer.status.value): _answer(answer, head=True)},
    }


def _responses(operation: Operation, *, head: bool) -> Schema:
    found = {str(each.status.value): _answer(each, head=head) for each in operation.answers}
    by_status: dict[HTTPStatus, list[Fault]] = {}
    for fault in (*operation.faults, faults.BUG):
        by_status.setdefault(fault.status, []).append(fault)
    found |= {str(status.value): _fault(each, head=head) for status, each in by_status.items()}
    said = {status: each for status, each in sorted(found.items()) if not (head and status in _RANGES)}
    return said | {"default": {"$ref": "#/components/responses/Elsewhere"}}


def _answer(answer: Answer, *, head: bool) -> Schema:
    found: Schema = {"description": answer.says}
    if answer.headers:
        found["headers"] = _headers(answer.headers)
    if answer.media and not head:
        found["content"] = {answer.media: {"schema": answer.schema} if answer.schema else {}}
    return found


def _fault(same: list[Fault], *, head: bool) -> Schema:
    """The answer for errors of one status."""
    found: Schema = {"description": "\n".join(f"- `{each.code}`: {each.says}" for each in same)}
    headers = {each.name: each for fault in same for each in fault.headers}
    if headers:
        found["headers"] = _headers(headers.values())
    if not head:
        codes = list(dict.fromkeys(each.code for each in same))
        schema = {"allOf": [reference(same[0].schema)], "properties": _coded(codes)}
        found["content"] = {JSON: {"schema": schema}}
    return found


def _elsewhere() -> Schema:
    says = "\n".join(f"- {each.status.value} `{each.code}`: {each.says}" for each in faults.ELSEWHERE)
    codes = list(dict.fromkeys(each.code for each in faults.ELSEWHERE))
    schema = {"allOf": [reference("Problem")], "properties": _coded(codes)}
    return {"description": says, "content": {JSON: {"schema": schema}}}


def _coded(codes: list[str]) -> dict[str, Any]:
    return {"errorCode": {"enum": codes}, "code": {"enum": codes}}


def _headers(headers: Iterable[Header]) -> Schema:
    return {
        each.name: {"description": each.says, "required": each.always, "schema": {"type": "string"}} for each in headers
    }
