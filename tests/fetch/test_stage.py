"""The stage: what it takes, reserves, hands over."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from downloader.clock import SystemClock
from downloader.errors import InsufficientStorage, TimedOut
from downloader.handoff import Fetched, Media, Plan
from downloader.job import Job, Options, Resolved
from downloader.states import Stage, Status
from stages.contract import StepContext
from stages.fetch import FetchStage
from tests.fetch.conftest import settings_for, video
from tests.origin import Origin, faults, media_bytes

DATA = media_bytes(700_000)


def step(tmp_path: Path, plan: Plan, **options: Any) -> StepContext:
    job = Job(
        id="j1", cache_key="k", url="https://example.org/v", options=Options(), status=Status.RUNNING, stage=Stage.DOWNLOAD,
        queued_at=datetime.now(UTC), started_at=options.pop("started_at", datetime.now(UTC)), request_id="r-7",
    )  # fmt: skip
    defaults: dict[str, Any] = {
        "job": job, "name": "fetch", "epoch": 1, "attempt": 1, "inputs": {"resolve": msgspec.to_builtins(plan)}, "work": tmp_path / "jobs" / "j1",
        "settings": options.pop("settings"), "clock": SystemClock(), "authorization": "Bearer me", "progress": lambda done, total: None,
        "check": lambda: None, "reserve": lambda size: None,
    }  # fmt: skip
    return StepContext(**(defaults | options))


def plan_of(*tracks: Any) -> Plan:
    return Plan(
        tracks=tracks, media=Media(operation="copy", container="mp4"), resolved=Resolved(), reserve_bytes=2_000_000
    )


def test_fetches_and_hands_over(origin: Origin, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, typetype_api_base=origin.url("/api"))
    stage = FetchStage(settings)
    origin.add("/api/proxy", DATA)
    reserved: list[int] = []
    plan = plan_of(
        video(origin.url("/api/proxy?url=x")), video(origin.url("/none"), key="cover", kind="image", optional=True)
    )
    result = stage.run(step(tmp_path, plan, settings=settings, reserve=reserved.append))
    stage.close()
    assert isinstance(result.outputs, Fetched)
    assert reserved == [2_000_000]
    assert result.total_bytes == len(DATA)
    assert len(result.warnings) == 1
    assert (tmp_path / "jobs" / "j1" / result.outputs.tracks[0].path).read_bytes() == DATA
    (sent,) = [seen for seen in origin.requests if seen.path == "/api/proxy"][:1]
    assert (sent.headers["authorization"], sent.headers["x-request-id"]) == ("Bearer me", "r-7")
    again = stage_again(settings, tmp_path, plan)
    assert again.outputs.tracks[0].size == len(DATA)
    assert again.outputs.bytes_moved == 0


def stage_again(settings: Any, tmp_path: Path, plan: Plan) -> Any:
    stage = FetchStage(settings)
    try:
        return stage.run(step(tmp_path, plan, settings=settings, epoch=2))
    finally:
        stage.close()


def test_no_room_ends_it_before_any_request(origin: Origin, tmp_path: Path) -> None:
    def reserve(_size: int) -> None:
        raise InsufficientStorage("Not enough disk.")

    settings = settings_for(tmp_path)
    stage = FetchStage(settings)
    with pytest.raises(InsufficientStorage):
        stage.run(step(tmp_path, plan_of(video(origin.add("/v", DATA))), settings=settings, reserve=reserve))
    stage.close()
    assert origin.count() == 0


def test_a_job_that_is_too_old_ends(origin: Origin, tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    stage = FetchStage(settings)
    old = datetime(2020, 1, 1, tzinfo=UTC)
    with pytest.raises(TimedOut):
        stage.run(
            step(
                tmp_path,
                plan_of(video(origin.add("/v", DATA, script=faults.stalled))),
                settings=settings,
                started_at=old,
            )
        )
    stage.close()
