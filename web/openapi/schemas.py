"""The schemas of what the service answers and sends, derived from its types."""

from typing import Any, Final

import msgspec

from downloader import errors
from downloader.states import Stage, Status
from web import public

Schema = dict[str, Any]

_ANSWERS: Final = (
    public.Job,
    public.Posted,
    public.Problem,
    public.NoRoom,
    public.Health,
    public.DeepHealth,
    public.Version,
)
_CALLBACK: Final = (
    "id", "url", "status", "stage", "errorCode", "error", "title", "artifactUrl", "finishedAt", "totalMs",
)  # fmt: skip


def reference(name: str) -> Schema:
    """A schema that points to the component ``name``."""
    return {"$ref": f"#/components/schemas/{name}"}


def components() -> dict[str, Schema]:
    """Every schema of an answer by name, and of a callback's body."""
    _, derived = msgspec.json.schema_components(_ANSWERS, ref_template="#/components/schemas/{name}")
    found: dict[str, Schema] = {name: _said(schema) for name, schema in derived.items()}
    # msgspec sorts; these go in the order of a job's life.
    found["Status"]["enum"] = [each.value for each in Status]
    found["Stage"]["enum"] = [each.value for each in Stage]
    job = found["Job"]["properties"]
    job["errorCode"] |= {"anyOf": _endings()}
    found["CancelledJob"] = _cancelled(found["Job"])
    found["Callback"] = _callback(job)
    return dict(sorted(found.items(), key=lambda item: item[0] != "Job"))


def _endings() -> list[Schema]:
    """Every code of a failed job, and that there may be others."""
    known: list[Schema] = [{"const": code, "description": _plain(says)} for code, says in errors.endings().items()]
    return [*known, {"type": "string", "description": "Of a job that an older service ran: any other."}]


def _cancelled(job: Schema) -> Schema:
    """A job's fields, with the one status that no job has elsewhere."""
    properties = job["properties"] | {"status": {"const": "cancelled", "description": "Elsewhere `failed`."}}
    return job | {"title": "CancelledJob", "description": "The job that was cancelled.", "properties": properties}


def _callback(job: Schema) -> Schema:
    properties = {name: job[name] for name in _CALLBACK}
    return {
        "title": "Callback",
        "description": "How a job ended. What does not apply is left out.",
        "type": "object",
        "properties": properties | {"status": {"enum": [Status.DONE.value, Status.FAILED.value]}},
        "required": ["id", "url", "status", "stage", "finishedAt"],
        "additionalProperties": False,
    }


def _said(schema: Any) -> Any:
    """``schema`` as clients meet it: no field is ever null, and code stands between single backticks."""
    if isinstance(schema, list):
        return [_said(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _said(value) for name, value in schema.items() if not (name == "default" and value is None)}
    if isinstance(found.get("description"), str):
        found["description"] = _plain(found["description"])
    options = [option for option in found.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        del found["anyOf"]
        found |= options[0]
    return found


def _plain(docstring: str) -> str:
    return " ".join(docstring.replace("``", "`").split())
