"""Serving finished files: by sendfile from local disk, by a presigned redirect from S3."""

import os
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from flask import Blueprint, Response, request
from werkzeug.wsgi import wrap_file

from downloader.artifacts import PresignedUrl, Stored
from downloader.artifacts.names import content_disposition, content_type
from downloader.errors import Cancelled
from downloader.job import Artifact, Job
from downloader.states import Status
from web import stored
from web.errors import Refusal
from web.jobs import find, parts
from web.ranges import Entity, choose

blueprint = Blueprint("artifacts", __name__)

INTERNAL_HEADER = "X-TypeType-Artifact-Proxy"


@blueprint.get("/jobs/<job_id>/artifact")
def artifact(job_id: str) -> Response:
    """The job's file. ``?download=0`` asks browsers to show it instead of saving it."""
    job = find(job_id)
    standing = _standing(job)
    return _serve(job, standing, standing)


@blueprint.get("/jobs/<job_id>/files/<name>")
def sidecar(job_id: str, name: str) -> Response:
    """A file beside the artifact, by the name that the job lists."""
    job = find(job_id)
    standing = _standing(job)
    for each in job.sidecars:
        if each.name == name:
            return _serve(job, standing, each)
    raise Refusal(HTTPStatus.NOT_FOUND, "not_found", "The job has no such file.")


def _standing(job: Job) -> Artifact:
    """The artifact that clients may have now; raises 404, 409 or 410."""
    here = parts()
    found = here.presenter.standing(job)
    if found is not None:
        return found
    if job.status is not Status.DONE:
        raise Refusal(HTTPStatus.CONFLICT, "artifact_not_ready", _without_file(job))
    if here.presenter.expired(job):
        raise Refusal(HTTPStatus.GONE, "artifact_expired", "The file's time is over; post the job again.")
    raise _missing()


def _without_file(job: Job) -> str:
    """Why a job that is not done has none, as a sentence."""
    if not job.ended:
        return "The job has no file yet."
    how = "was cancelled" if job.error_code == Cancelled.code else "failed"
    return f"The job {how}: it has no file."


def _missing() -> Refusal:
    return Refusal(HTTPStatus.NOT_FOUND, "artifact_missing", "The file is gone; post the job again.")


def _serve(job: Job, standing: Artifact, file: Stored) -> Response:
    here = parts()
    inline = request.args.get("download") == "0"
    where = stored.locate(here, standing, file, inline=inline)
    if isinstance(where, PresignedUrl):
        return _redirect(where)
    answer = _local(where, file, inline=inline) if where else None
    if answer is None:
        if file is standing:
            here.store.artifact_missing(job.id, standing.locator)
        raise _missing()
    return answer


def _redirect(where: PresignedUrl) -> Response:
    # Without the body of Flask's own redirect, which repeats the URL: nobody reads it.
    headers = {"Location": where.url, "Cache-Control": "no-store"}
    return Response(status=HTTPStatus.FOUND, headers=headers | ({INTERNAL_HEADER: "1"} if where.internal else {}))


def _local(path: Path, file: Stored, *, inline: bool) -> Response | None:
    """The answer for a file on this disk; None when it has just gone."""
    settings = parts().settings
    headers = {
        "Content-Disposition": content_disposition(file.name, inline=inline),
        "Content-Type": file.content_type or content_type(path.suffix),
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-cache",
    }
    if settings.accel_redirect_prefix:
        inside = path.relative_to(settings.artifacts_dir.absolute())
        target = f"{settings.accel_redirect_prefix.rstrip('/')}/{inside}"
        return Response(headers=headers | {"X-Accel-Redirect": quote(target, safe="/")})
    try:
        return _sent(path, headers)
    except FileNotFoundError:
        return None


def _sent(path: Path, headers: dict[str, str]) -> Response:
    # Unbuffered: gunicorn sends from the descriptor's own offset, whatever Python may have read ahead.
    with path.open("rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        entity = Entity(
            size=found.st_size,
            # Artifacts are written once and never changed, so time and size are a strong validator.
            etag=f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}",
            modified=datetime.fromtimestamp(found.st_mtime, UTC),
        )
        part = choose(request, entity)
        headers = headers | entity.headers | part.headers(entity)
        if part.status is HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise Refusal(
                part.status,
                "range_not_satisfiable",
                "The file ends before the range begins.",
                headers=entity.headers | part.headers(entity),
            )
        if part.status is HTTPStatus.PRECONDITION_FAILED:
            raise Refusal(part.status, "precondition_failed", "The file is another one.", headers=entity.headers)
        if part.status is HTTPStatus.NOT_MODIFIED or request.method == "HEAD":
            return Response(status=part.status, headers=headers)
        body = os.fdopen(os.dup(file.fileno()), "rb", buffering=0)
    body.seek(part.start)
    return Response(
        wrap_file(request.environ, body, 1 << 20), status=part.status, headers=headers, direct_passthrough=True
    )
