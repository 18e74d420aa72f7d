"""The fetch stage: pulls every track of the plan into the job's work folder."""

import time
from collections.abc import Callable
from datetime import UTC

from downloader.config import Settings
from downloader.fetch.engine import Engine
from downloader.fetch.task import Task
from downloader.handoff import Plan, Track
from stages.contract import StepContext, StepResult


class FetchStage:
    """See Stage. Its jobs share one engine, and with it the budget of connections per host."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = Engine(settings)

    def run(self, step: StepContext) -> StepResult:
        """Reserve the disk, fetch all tracks, hand over a ``Fetched``. See Stage for what it raises."""
        plan = step.take("resolve", Plan)
        step.reserve(plan.reserve_bytes)
        fetched = self._engine.fetch(plan.tracks, self._task(step))
        size = sum(track.size for track in fetched.tracks)
        return StepResult(
            outputs=fetched,
            total_bytes=size,
            warnings=fetched.warnings,
            fields={"bytes": size, "bytes_moved": fetched.bytes_moved, "tracks": len(fetched.tracks)},
        )

    def close(self) -> None:
        """End the engine's threads."""
        self._engine.close()

    def _task(self, step: StepContext) -> Task:
        return Task(
            work=step.work,
            epoch=step.epoch,
            check=step.check,
            progress=step.progress,
            authorization=step.authorization,
            request_id=step.job.request_id,
            refresh=self._refresh(step),
            deadline=self._deadline(step),
        )

    def _refresh(self, step: StepContext) -> Callable[[Track], Track | None]:
        def refresh(track: Track) -> Track | None:
            from downloader.typetype.refresh import refresh_track  # noqa: PLC0415 - needed by few jobs

            return refresh_track(self._settings, step.job, track, step.authorization, step.check)

        return refresh

    def _deadline(self, step: StepContext) -> float:
        """The end of the job's time as a monotonic time."""
        now = step.clock.now()
        spent = (now - (step.job.started_at or now).astimezone(UTC)).total_seconds()
        return time.monotonic() + self._settings.job_time_limit_seconds - max(0.0, spent)
