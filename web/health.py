"""GET /health, /health/deep and /version."""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog
from flask import Blueprint, Response, jsonify

from downloader import __version__, disk, queues
from downloader.errors import NotMigrated
from downloader.queues import Queues
from downloader.route import JANITOR
from web.buildnote import build
from web.jobs import parts
from web.parts import Parts
from web.together import in_thread, together

log = structlog.get_logger(__name__)

blueprint = Blueprint("health", __name__)

SERVICE = "typetype-downloader"
OK = "ok"
CHECK_SECONDS = 2.5
FAILED = "cannot be used; the log says why"
LATE = f"did not answer within {CHECK_SECONDS} s"


@blueprint.get("/health")
def health() -> Response:
    """The process answers."""
    return jsonify({"status": OK, "service": SERVICE})


@blueprint.get("/version")
def version() -> Response:
    """What runs here."""
    found = build()
    return jsonify(
        {"service": SERVICE, "version": __version__, "revision": found.revision, "buildTime": found.build_time}
    )


@blueprint.get("/health/deep")
def deep() -> tuple[Response, int]:
    """Every part, checked at the same time; whatever hangs counts as failed after CHECK_SECONDS."""
    here = parts()
    read: list[Queues] = []

    def stages() -> str:
        read.append(queues.read(here.store))
        return "; ".join(read[0].troubles())

    artifact = "s3" if here.artifacts.kind == "s3" else "artifact"
    calls: dict[str, Callable[[], str | None]] = {
        "postgres": here.store.ping,
        "dragonfly": here.broker.ping,
        # A disk that hangs blocks in the kernel.
        artifact: here.artifacts.health if artifact == "s3" else lambda: in_thread(here.artifacts.health),
        "disk": lambda: in_thread(lambda: _disk(here)),
        "stages": stages,
    }
    found = together({name: partial(_outcome, name, call) for name, call in calls.items()}, CHECK_SECONDS)
    checks = {"service": OK} | {name: found.get(name, LATE) for name in calls}
    checks["janitor"] = (read[0].janitor_trouble or OK) if read else checks["stages"]
    healthy = all(value == OK for value in checks.values())
    answer = {"status": OK if healthy else "degraded", "checks": checks} | (_figures(read[0]) if read else {})
    return jsonify(answer), HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE


def _figures(read: Queues) -> dict[str, Any]:
    """``workers``: live slots per stage; ``queues``: steps ready and running, and the age of the oldest ready one."""
    return {
        "workers": {stage: queue.slots for stage, queue in read.stages.items()} | {JANITOR: read.janitors},
        "queues": {
            stage: {"ready": queue.ready, "running": queue.running, "oldestSeconds": round(queue.oldest, 1)}
            for stage, queue in read.stages.items()
        },
    }


def _outcome(name: str, check: Callable[[], str | None]) -> str:
    try:
        return check() or OK
    except Exception as error:  # noqa: BLE001 - whatever a part does, the page must come
        log.warning("a health check failed", check=name, reason=f"{type(error).__name__}: {error}")
        # Any other reason names hosts and users: that is for the log.
        return error.message if isinstance(error, NotMigrated) else FAILED


def _disk(here: Parts) -> str:
    space = disk.free(here.settings.data_dir)
    required = disk.minimum(here.settings, space)
    return OK if space.free >= required else f"low: {space.free} bytes are free, {required} must stay free"
