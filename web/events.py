"""GET /jobs/{id}/events: the job as it is, then every change, as server-sent events."""

import json
from collections.abc import Iterator
from contextlib import closing
from itertools import count

from flask import Blueprint, Response, request
from flask_sse import Message

from web.hub import Watcher
from web.jobs import find, last_progress, parts, valid_id
from web.present import Presenter

KEEP_ALIVE_SECONDS = 15.0
KEEP_ALIVE = ": keep-alive\n\n"

blueprint = Blueprint("events", __name__)

_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@blueprint.get("/jobs/<job_id>/events")
def events(job_id: str) -> Response:
    """The stream of a job; 404 as JSON when there is none."""
    here = parts()
    watcher = here.hub.watch(valid_id(job_id))
    try:
        job = find(job_id)
        watcher.offer(job, last_progress(job))
    except BaseException:
        watcher.close()
        raise
    if request.method == "HEAD":
        watcher.close()
        return Response(mimetype="text/event-stream", headers=_HEADERS)
    stream = Response(
        _stream(watcher, here.presenter, _first_id()),
        mimetype="text/event-stream",
        headers=_HEADERS,
    )
    # A generator that was never begun runs no finally.
    stream.call_on_close(watcher.close)
    return stream


def _stream(watcher: Watcher, presenter: Presenter, first_id: int) -> Iterator[str]:
    with closing(watcher):
        for number in count(first_id):
            while (state := watcher.next(KEEP_ALIVE_SECONDS)) is None:
                if watcher.over:
                    return
                yield KEEP_ALIVE
            job, live = state
            # ASCII only: flask-sse splits data at every line end that Unicode knows.
            data = json.dumps(presenter.job(job, live), separators=(",", ":"))
            yield str(Message(data, type="progress", id=str(number)))
            if job.ended:
                return


def _first_id() -> int:
    """One above what a reconnecting client saw last, so that ids rise over reconnects as well."""
    last = request.headers.get("Last-Event-ID", "")
    return int(last) + 1 if last.isascii() and last.isdigit() and len(last) < 16 else 1  # noqa: PLR2004 - below 2^53
