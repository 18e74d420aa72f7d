"""Jobs and step contexts for the tests of resolving."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from downloader.clock import SystemClock
from downloader.config import Settings
from downloader.job import Job, Options
from downloader.states import Stage, Status
from stages.contract import StepContext


def job(url: str = "https://example.test/watch?v=small", options: Options | None = None) -> Job:
    return Job(
        id="0" * 24,
        cache_key="key",
        url=url,
        options=options or Options(),
        status=Status.RUNNING,
        stage=Stage.EXTRACT,
        queued_at=datetime(2026, 1, 1, tzinfo=UTC),
        request_id="request-1",
    )


def step(
    of: Job, settings: Settings, *, reserve: Callable[[int], None] | None = None, authorization: str | None = None
) -> StepContext:
    return StepContext(
        job=of,
        name="resolve",
        epoch=1,
        attempt=1,
        inputs={},
        work=Path("/nonexistent"),
        settings=settings,
        clock=SystemClock(),
        authorization=authorization,
        progress=lambda _done, _total: None,
        check=lambda: None,
        reserve=reserve or (lambda _size: None),
    )
