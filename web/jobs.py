"""Posting, reading, cancelling and deleting jobs."""

import re
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import structlog
from flask import Blueprint, Response, current_app, jsonify, request

from downloader import disk, room
from downloader.cache_key import cache_key
from downloader.disk import DiskSpace
from downloader.errors import BrokerUnavailable, StorageFailed
from downloader.job import Job, Progress
from downloader.states import Status
from downloader.store import NewJob, Posted, QueueFull
from web import body, stored, validate
from web.errors import Refusal, not_found
from web.parts import Parts
from web.together import T, at_most, in_thread

log = structlog.get_logger(__name__)

blueprint = Blueprint("jobs", __name__)

QUEUE_RETRY_SECONDS = 10
DISK_SECONDS = 5.0

JOB_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def parts() -> Parts:
    """The parts of the running app."""
    return cast("Parts", current_app.extensions["downloader"])


def valid_id(job_id: str) -> str:
    """``job_id``; raises 404 when no job could have such an id."""
    if not JOB_ID.fullmatch(job_id):
        raise not_found()
    return job_id


def find(job_id: str) -> Job:
    """The job; raises 404."""
    job = parts().store.job(valid_id(job_id))
    if job is None:
        raise not_found()
    return job


def last_progress(job: Job) -> Progress | None:
    """What was told last of the job, also of a failed one; None when that says no more than the row."""
    return None if job.status is Status.DONE else parts().broker.snapshot(job.id)


@blueprint.post("/jobs")
def post() -> tuple[Response, int]:
    """A new job, or the equal one that is under way or done."""
    here = parts()
    fields = validate.document(body.read_json(request))
    url = validate.url(fields)
    options = validate.options(fields, here.settings.callback_allow_hosts)
    refusal = _no_room(here)
    authorization = request.headers.get("Authorization") or None
    new = NewJob(
        url=url,
        options=options,
        cache_key=cache_key(url, options, authorization),
        authorization=here.vault.seal(authorization) if authorization else None,
        request_id=_request_id(),
    )
    # On a full disk nothing new is taken; a job that is there already costs no byte more.
    limit = 0 if refusal else here.settings.max_queue_size + here.settings.max_concurrent_workers
    try:
        posted = _posted(here, new, limit)
    except QueueFull as error:
        raise refusal or Refusal(
            HTTPStatus.TOO_MANY_REQUESTS,
            "queue_full",
            error.message,
            headers={"Retry-After": str(QUEUE_RETRY_SECONDS)},
        ) from None
    if posted.ready:
        try:
            here.broker.add(posted.ready)
        except BrokerUnavailable as error:
            log.warning("the janitor will add the job", job=posted.id, reason=error.message)
    return jsonify({"id": posted.id, "cached": posted.cached}), HTTPStatus.CREATED


@blueprint.get("/jobs/<job_id>")
def get(job_id: str) -> Response:
    """The job as it is."""
    return jsonify(_public(find(job_id)))


@blueprint.post("/jobs/<job_id>/cancel")
def cancel(job_id: str) -> tuple[Response, int]:
    """End an unfinished job."""
    here = parts()
    job = here.store.cancel(valid_id(job_id))
    if job is None:
        raise not_found()
    _announce(here, job_id)
    return jsonify(_public(job) | {"status": "cancelled"}), HTTPStatus.ACCEPTED


@blueprint.delete("/jobs/<job_id>")
def delete(job_id: str) -> tuple[str, int]:
    """Remove an ended job with its artifact and work files."""
    here = parts()
    job = here.store.delete(valid_id(job_id))
    if job is None:
        raise not_found()
    _announce(here, job_id)
    stored.remove(here, job)
    return "", HTTPStatus.NO_CONTENT


def _public(job: Job) -> dict[str, Any]:
    return parts().presenter.job(job, last_progress(job))


def _posted(here: Parts, new: NewJob, limit: int) -> Posted:
    """The job that ``new`` leads to: never a done one whose file has gone without a word."""
    posted = here.store.post(new, limit=limit)
    # Each turn rules one done job out.
    while posted.cached and not stored.stands(here, posted.id):
        posted = here.store.post(new, limit=limit)
    return posted


def _no_room(here: Parts) -> Refusal | None:
    """The 507 for a new job when the volume has less room than must stay free."""
    space, volume = _volume(here.settings.data_dir)
    required = disk.minimum(here.settings, space)
    free = space.free
    if free >= required:
        reserved = here.store.reserved(volume)
        free = space.free - sum(reserved.values())
        if free < required:
            # Where it is close, what is written of it already is looked up, which takes many small looks.
            free = space.free - _of_the_disk(lambda: room.to_come(here.settings, reserved))
    if free >= required:
        return None
    return Refusal(
        HTTPStatus.INSUFFICIENT_STORAGE,
        "insufficient_storage",
        "There is not enough disk space for another download.",
        figures={"freeBytes": max(0, free), "requiredFreeBytes": required},
    )


def _volume(path: Path) -> tuple[DiskSpace, str]:
    """The space of the volume that holds ``path``, and its id."""
    return _of_the_disk(lambda: (disk.free(path), room.volume_id(path)))


def _of_the_disk(look: Callable[[], T]) -> T:
    """What ``look`` finds, beside the loop; StorageFailed when the disk does not answer."""
    with at_most(DISK_SECONDS, StorageFailed("The disk does not answer; try again shortly.")):
        return in_thread(look)


def _announce(here: Parts, job_id: str) -> None:
    try:
        here.broker.announce(job_id)
    except BrokerUnavailable as error:
        log.warning("watchers will find out by polling", job=job_id, reason=error.message)


def _request_id() -> str | None:
    found = request.headers.get("X-Request-ID", "")
    return found if REQUEST_ID.fullmatch(found) else None
