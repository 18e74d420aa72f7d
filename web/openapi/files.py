"""What is said of the two routes that give files."""

from http import HTTPStatus
from typing import Final

from web.artifacts import INTERNAL_HEADER
from web.openapi import faults
from web.openapi.operation import Answer, Header, Operation, Parameter

_VALIDATORS: Final = (
    Header("ETag", "A strong validator of the file."),
    Header("Last-Modified", "When it was made."),
    Header("Accept-Ranges", "`bytes`"),
)
_BODY: Final = (
    Header("Content-Disposition", "The file's name, to save it by; or `inline` with `download=0`."),
    Header("Cache-Control", "`private, no-cache`"),
)
# Behind nginx these are nginx's own, which a test of the app alone does not see.
_LENGTH: Final = (Header("Content-Length", "Bytes of this answer.", always=False),)

_PARAMETERS: Final = (
    Parameter("download", "query", "`0`: browsers show the file instead of saving it."),
    Parameter("Range", "header", "One range of bytes, such as `bytes=1000-`; several at once get the whole file."),
    Parameter("If-Range", "header", "An ETag or a date: the range counts only if the file is still that one."),
    Parameter("If-None-Match", "header", "An ETag that the client has already."),
    Parameter("If-Modified-Since", "header", "The date of what the client has already."),
    Parameter("If-Match", "header", "The ETag that the file must have."),
    Parameter("If-Unmodified-Since", "header", "The date after which it must not have changed."),
)

_ANSWERS: Final = (
    Answer(
        HTTPStatus.OK,
        "The whole file, from local disk.",
        media="*/*",
        headers=(*(Header(each.name, each.says, always=False) for each in _VALIDATORS), *_BODY, *_LENGTH),
    ),
    Answer(
        HTTPStatus.PARTIAL_CONTENT,
        "The range that was asked for.",
        media="*/*",
        headers=(*_VALIDATORS, *_BODY, *_LENGTH, Header("Content-Range", "Which bytes these are, of how many.")),
    ),
    Answer(
        HTTPStatus.FOUND,
        "The file is on S3: a presigned URL, which takes Range as well.",
        media="",
        headers=(
            Header("Location", "Where it is, for a limited time."),
            Header(INTERNAL_HEADER, "`1`: clients cannot reach that host; the gateway must fetch it.", always=False),
        ),
    ),
    Answer(HTTPStatus.NOT_MODIFIED, "The client has this very file.", media="", headers=_VALIDATORS),
)

_FAULTS: Final = (
    faults.MISSING,
    faults.NOT_READY,
    faults.EXPIRED,
    faults.CHANGED,
    faults.BEYOND,
    faults.STORE,
    faults.STORAGE,
)

ARTIFACT: Final = Operation(
    "getArtifact",
    "Files",
    "Fetch a job's file",
    _ANSWERS,
    parameters=_PARAMETERS,
    faults=(faults.NOT_FOUND, *_FAULTS),
)
SIDECAR: Final = Operation(
    "getFile",
    "Files",
    "Fetch a file beside it",
    _ANSWERS,
    says="By a name that the job's `sidecars` list.",
    parameters=_PARAMETERS,
    faults=(faults.NO_SUCH_FILE, *_FAULTS),
)
