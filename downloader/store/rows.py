"""From rows to values and back: the one place where a database type meets a domain type."""

from collections.abc import Mapping
from typing import Any

import msgspec

from downloader.job import Artifact, Job, Options, Resolved, Sidecar
from downloader.route import RouteStep
from downloader.states import Stage, Status
from downloader.store.database import Row


def job(row: Row) -> Job:
    """A row of downloader_jobs as a Job."""
    return Job(
        id=row["id"],
        cache_key=row["cache_key"],
        url=row["url"],
        options=_lenient(row["options"], Options),
        status=Status(row["status"]),
        stage=Stage(row["stage"]),
        title=row["title"],
        duration_ms=row["duration_ms"],
        resolved=_lenient(row["resolved"], Resolved) if row["resolved"] else None,
        artifact=_artifact(row),
        artifact_expires_at=row["artifact_expires_at"],
        sidecars=msgspec.convert(row["sidecars"], tuple[Sidecar, ...]),
        warnings=tuple(row["warnings"]),
        error=row["error"],
        error_code=row["error_code"],
        progress_percent=row["progress_percent"],
        downloaded_bytes=row["downloaded_bytes"],
        total_bytes=row["total_bytes"],
        queued_at=row["queued_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        download_ms=row["download_ms"],
        mux_ms=row["mux_ms"],
        upload_ms=row["upload_ms"],
        total_ms=row["total_ms"],
        updated_at=row["updated_at"],
        request_id=row["request_id"],
    )


def steps(route: Mapping[str, RouteStep]) -> str:
    """The steps of a job's route, as the statements that insert them take them."""
    return as_json([{"name": name, "stage": step.stage, "needs": step.needs} for name, step in route.items()])


def as_json(value: Any) -> str:
    """``value`` as JSON text that jsonb takes: U+0000, which Postgres refuses, is left out."""
    text = msgspec.json.encode(value).decode()
    if "\\u0000" in text:
        text = msgspec.json.encode(_without_nul(msgspec.json.decode(text))).decode()
    return text


def as_text(value: str | None) -> str | None:
    """``value`` as text that Postgres takes."""
    return None if value is None else value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def _artifact(row: Row) -> Artifact | None:
    if row["status"] != Status.DONE or not row["artifact"]:
        return None
    return Artifact(
        storage="s3" if row["storage"] == "s3" else "local",
        locator=row["artifact"],
        name=row["artifact_name"] or row["artifact"].rpartition("/")[2],
        size=row["artifact_size"],
        content_type=row["artifact_type"],
        digest=row["artifact_digest"],
        expires_at=row["artifact_expires_at"],
    )


def _lenient(value: Any, kind: type[Any]) -> Any:
    """``value`` as ``kind``; what an earlier service wrote in another shape is left out, field by field."""
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError:
        kept = {}
        for name, item in value.items() if isinstance(value, dict) else ():
            try:
                msgspec.convert({name: item}, kind, strict=False)
            except msgspec.ValidationError:
                continue
            kept[name] = item
        return msgspec.convert(kept, kind, strict=False)


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return value
