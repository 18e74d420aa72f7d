"""What is said of a route that its code cannot say itself, as values."""

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from web.openapi.schemas import Schema

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Header:
    """A header of an answer; ``always`` there, or only when it applies."""

    name: str
    says: str
    always: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is no error. ``media`` is the type of its body, empty when it has none."""

    status: HTTPStatus
    says: str
    schema: Schema = field(default_factory=dict)
    media: str = JSON
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """An error: its status and code, when it comes, and the schema of its body."""

    status: HTTPStatus
    code: str
    says: str
    schema: str = "Problem"
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or a header of a request."""

    name: str
    where: str
    says: str
    schema: Schema = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True, slots=True)
class Operation:
    """One view: ``name`` is its operationId. What all routes share is added by ``document``."""

    name: str
    tag: str
    summary: str
    answers: tuple[Answer, ...]
    says: str = ""
    faults: tuple[Fault, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: str = ""
    more: Schema = field(default_factory=dict)
