"""Named SQL out of the .sql files: ``-- name: NAME``, or ``-- name: NAME prepared`` for what every job asks."""

import re
from importlib.resources import files

_PARAMETER = re.compile(r"%\((\w+)\)s")


class Statement(str):
    """SQL text with ``%(name)s`` parameters.

    A prepared one has a ``body``: its last statement, with numbered parameters. What stands before it (a SET LOCAL, a
    lock) is sent along each time, in the same round trip and transaction.
    """

    __slots__ = ("body", "execute", "name", "prepare")

    name: str
    body: str
    prepare: str
    execute: str

    @classmethod
    def parsed(cls, name: str, text: str, *, prepared: bool) -> "Statement":
        """The statement ``text``; to be prepared under a name of ours where ``prepared``."""
        made = cls(text)
        made.name, made.body, made.prepare, made.execute = f"downloader_{name}", "", "", ""
        if prepared:
            before, _, last = text.rpartition(";")
            names = list(dict.fromkeys(_PARAMETER.findall(last)))
            made.body = _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", last)
            made.prepare = f"PREPARE {made.name} AS {made.body}"
            arguments = ", ".join(f"%({item})s" for item in names)
            made.execute = f"{before}{';' if before else ''} EXECUTE {made.name} ({arguments})"
        return made


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
