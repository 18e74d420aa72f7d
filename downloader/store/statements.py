"""Named SQL out of the .sql files: ``-- name: NAME``, or ``-- name: NAME prepared`` for what every job asks."""

import re
from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

_PARAMETER = re.compile(r"%\((\w+)\)s")


class Statement(str):
    """SQL text with ``%(name)s`` parameters, of one or more statements that run in one transaction.

    Of a prepared one, ``prepare`` plans each statement that has parameters, under the names in ``plans``, and
    ``execute`` runs them; all are empty otherwise.
    """

    __slots__ = ("execute", "name", "plans", "prepare")

    name: str
    plans: tuple[str, ...]
    prepare: tuple[str, ...]
    execute: str

    @classmethod
    def parsed(cls, name: str, text: str, *, prepared: bool) -> "Statement":
        """The statement ``text``; to be prepared under names of ours where ``prepared``."""
        made = cls(text)
        # Behind a pooler versions share sessions: the same name must mean the same text.
        made.name = f"downloader_{name}_{sha256(text.encode()).hexdigest()[:8]}"
        made.plans, made.prepare, made.execute = (), (), ""
        if prepared:
            parts = [_prepared(f"{made.name}_{number}", part) for number, part in enumerate(text.split(";"))]
            made.plans = tuple(part.plan for part in parts if part.plan)
            made.prepare = tuple(part.prepare for part in parts if part.plan)
            made.execute = ";\n".join(part.execute for part in parts)
        return made


class _Part(NamedTuple):
    """One statement of several: the name of its plan and how to make it (empty without parameters), how to run it."""

    plan: str
    prepare: str
    execute: str


def _prepared(name: str, part: str) -> _Part:
    parameters = list(dict.fromkeys(_PARAMETER.findall(part)))
    if not parameters:
        return _Part("", "", part)
    body = _PARAMETER.sub(lambda found: f"${parameters.index(found[1]) + 1}", part)
    arguments = ", ".join(f"%({parameter})s" for parameter in parameters)
    return _Part(name, f"PREPARE {name} AS {body}", f"EXECUTE {name} ({arguments})")


def named(file: str) -> dict[str, Statement]:
    """The statements of a .sql file of this folder by the names in their ``-- name:`` lines."""
    text = (files("downloader.store") / file).read_text(encoding="utf-8")
    found = {}
    for part in text.split("-- name: ")[1:]:
        head, _, body = part.partition("\n")
        name, *flags = head.split()
        lines = [line for line in body.splitlines() if not line.lstrip().startswith("--")]
        found[name] = Statement.parsed(name, "\n".join(lines).strip(), prepared="prepared" in flags)
    return found
