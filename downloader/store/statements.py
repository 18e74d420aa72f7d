"""Named SQL out of the .sql files: ``-- name: NAME``, or ``-- name: NAME prepared`` for what every job asks."""

import re
from importlib.resources import files

_PARAMETER = re.compile(r"%\((\w+)\)s")


class Statement(str):
    """SQL text with ``%(name)s`` parameters, of one or more statements that run in one transaction.

    Of a prepared one, ``prepare`` plans each statement that has parameters, and ``execute`` runs them; both are empty
    otherwise.
    """

    __slots__ = ("execute", "name", "prepare")

    name: str
    prepare: str
    execute: str

    @classmethod
    def parsed(cls, name: str, text: str, *, prepared: bool) -> "Statement":
        """The statement ``text``; to be prepared under names of ours where ``prepared``."""
        made = cls(text)
        made.name, made.prepare, made.execute = f"downloader_{name}", "", ""
        if prepared:
            parts = [_prepared(f"{made.name}_{number}", part) for number, part in enumerate(text.split(";"))]
            made.prepare = ";\n".join(prepare for prepare, _ in parts if prepare)
            made.execute = ";\n".join(execute for _, execute in parts)
        return made


def _prepared(name: str, part: str) -> tuple[str, str]:
    """How to prepare one statement, and how to run it then."""
    parameters = list(dict.fromkeys(_PARAMETER.findall(part)))
    if not parameters:
        return "", part
    body = _PARAMETER.sub(lambda found: f"${parameters.index(found[1]) + 1}", part)
    arguments = ", ".join(f"%({parameter})s" for parameter in parameters)
    return f"PREPARE {name} AS {body}", f"EXECUTE {name} ({arguments})"


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
