"""What each view takes and answers, by its endpoint. Paths and methods are not here: those are the app's."""

from http import HTTPStatus
from typing import Final

from downloader.callbacks import SIGNATURE_HEADER, TIMESTAMP_HEADER
from web import jobs
from web.openapi import faults
from web.openapi.files import ARTIFACT, SIDECAR
from web.openapi.operation import Answer, Header, Operation, Parameter
from web.openapi.schemas import Schema, reference

TAGS: Final = {
    "Jobs": "A job is one wish: a URL and what is wanted of it.",
    "Files": "What a done job has to give.",
    "Service": "How the service is.",
}

_CALLBACK_HEADERS: Final = (
    Parameter(TIMESTAMP_HEADER, "header", "Seconds since 1970, as text; refuse old ones."),
    Parameter(SIGNATURE_HEADER, "header", "`sha256=` and the hex HMAC-SHA256 of `<timestamp>.<body>`."),
)


def _callback() -> Schema:
    """The POST that tells a job's end."""
    return {
        "post": {
            "summary": "The job has ended",
            "description": "Sent at least once when a job ends, and tried again for about a day.",
            "parameters": [
                {"name": each.name, "in": each.where, "required": True, "description": each.says, "schema": each.schema}
                for each in _CALLBACK_HEADERS
            ],
            "requestBody": {"required": True, "content": {"application/json": {"schema": reference("Callback")}}},
            "responses": {"2XX": {"description": "Understood."}},
        }
    }


_POST: Final = Operation(
    "postJob",
    "Jobs",
    "Post a job",
    says="An equal post while the job is unfinished, or while its file stands, is answered with that very job. "
    "Equal are posts with the same URL, options and Authorization.",
    body="Wish",
    parameters=(Parameter("X-Request-ID", "header", "Noted with the job, for the logs."),),
    answers=(Answer(HTTPStatus.CREATED, "The job, new or not.", reference("Posted")),),
    faults=(
        faults.INVALID_JSON,
        faults.INVALID_URL,
        faults.INVALID_OPTIONS,
        faults.BAD_REQUEST,
        faults.TIMEOUT,
        faults.TOO_LARGE,
        faults.WRONG_TYPE,
        faults.QUEUE_FULL,
        faults.STORE,
        faults.STORAGE,
        faults.NO_ROOM,
    ),
    more={
        "security": [{}, {"authorization": []}],
        "callbacks": {
            "ended": {f"{{$request.body#{place}/callbackUrl}}": _callback() for place in ("", "/options")},
        },
    },
)

_EVENTS: Final = Operation(
    "watchJob",
    "Jobs",
    "Watch a job",
    says="Server-sent events: the job as it is, then every change, until it has ended. Each has the name `progress`, "
    "an `id` that rises, and the Job as JSON in one line of `data`. A comment comes every 15 s.",
    parameters=(Parameter("Last-Event-ID", "header", "The id seen last; the next ones are above it."),),
    answers=(
        Answer(
            HTTPStatus.OK,
            "The stream; it ends after the job has.",
            {"type": "string"},
            "text/event-stream",
            (Header("X-Accel-Buffering", "`no`: a proxy must not hold events back."),),
        ),
    ),
    faults=(faults.NOT_FOUND, faults.STORE),
)

_DELETED: Final = Answer(
    HTTPStatus.NO_CONTENT, "Its row is gone, and its files are or will be by the next sweep.", media=""
)
_TEXT: Final[Schema] = {"type": "string"}

OPERATIONS: Final = {
    "jobs.post": _POST,
    "jobs.get": Operation(
        "getJob",
        "Jobs",
        "Read a job",
        (Answer(HTTPStatus.OK, "The job as it is.", reference("Job")),),
        faults=(faults.NOT_FOUND, faults.STORE),
    ),
    "jobs.cancel": Operation(
        "cancelJob",
        "Jobs",
        "Cancel a job",
        (Answer(HTTPStatus.ACCEPTED, "It is cancelled; its work ends within a second.", reference("CancelledJob")),),
        faults=(faults.NOT_FOUND, faults.NOT_CANCELLABLE, faults.STORE),
    ),
    "jobs.delete": Operation(
        "deleteJob",
        "Jobs",
        "Delete an ended job",
        (_DELETED,),
        faults=(faults.NOT_FOUND, faults.RUNNING, faults.STORE),
    ),
    "events.events": _EVENTS,
    "artifacts.artifact": ARTIFACT,
    "artifacts.sidecar": SIDECAR,
    "health.health": Operation(
        "health",
        "Service",
        "Is the process there",
        (Answer(HTTPStatus.OK, "It is.", reference("Health")),),
    ),
    "health.deep": Operation(
        "deepHealth",
        "Service",
        "Is every part well",
        (
            Answer(HTTPStatus.OK, "Every part is well.", reference("DeepHealth")),
            Answer(HTTPStatus.SERVICE_UNAVAILABLE, "Some part is not.", reference("DeepHealth")),
        ),
        says="Within 3 s, whatever hangs.",
    ),
    "health.version": Operation(
        "version", "Service", "What runs here", (Answer(HTTPStatus.OK, "The build.", reference("Version")),)
    ),
    "metrics.metrics": Operation(
        "metrics",
        "Service",
        "Figures for Prometheus",
        (Answer(HTTPStatus.OK, "The text format 0.0.4.", _TEXT, "text/plain"),),
        says="Within 3 s, also when Postgres is away: what cannot be known is then missing.",
    ),
    "openapi.description": Operation(
        "description",
        "Service",
        "This description",
        (Answer(HTTPStatus.OK, "An OpenAPI 3.1 document.", {"type": "object"}),),
    ),
    "openapi.page": Operation(
        "documentation",
        "Service",
        "This description, to read",
        (
            Answer(
                HTTPStatus.OK,
                "A page that loads nothing else.",
                _TEXT,
                "text/html",
                (Header("Content-Security-Policy", "Allows its own style and nothing else."),),
            ),
        ),
    ),
}

JOB_ID: Final[Schema] = {"type": "string", "pattern": f"^(?:{jobs.JOB_ID.pattern})$"}
PATHS: Final = {
    "job_id": ("id", "The job's id.", JOB_ID),
    "name": ("name", "The file's name, as the job lists it.", _TEXT),
}
"""Names in paths, as the views have them: as they are shown, what they are, their schema."""
