"""Failed jobs that an operator wants run again."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import psycopg2

from downloader.errors import DownloadError
from downloader.job import Entry, Job
from downloader.route import steps_for
from downloader.states import StepState
from downloader.store import rows
from downloader.store.database import Database
from downloader.store.statements import named

_SQL = named("again.sql")


class NotFailed(DownloadError):
    """Only a failed job can be run again."""

    code = "not_failed"


class EqualUnderWay(DownloadError):
    """A job with the same wish is unfinished: there may be one of a kind."""

    code = "equal_under_way"


@dataclass(frozen=True, slots=True)
class StepOutputs:
    """A step of an ended job: what it needs, and its outputs as JSON when it was done."""

    name: str
    needs: tuple[str, ...]
    outputs: Any | None


class Again:
    """Running failed jobs again, over ``db``."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def step_outputs(self, job_id: str) -> list[StepOutputs]:
        """Every step of the job; none for a job from before there were steps."""
        return [
            StepOutputs(row["name"], tuple(row["needs"]), row["outputs"] if row["state"] == StepState.DONE else None)
            for row in self.db.rows(_SQL["steps_of"], {"id": job_id})
        ]

    def run_again(self, job: Job, keep: Collection[str]) -> tuple[Entry, ...]:
        """Queue the failed ``job`` anew, the steps in ``keep`` staying done; the entries to add after the commit.

        Raises NotFailed when it has not failed, or is not the row that was read any more; EqualUnderWay.
        """
        values = {
            "id": job.id,
            "finished_at": job.finished_at,
            "keep": list(keep),
            "steps": rows.steps(steps_for(job.options)),
        }
        try:
            found = self.db.rows(_SQL["run_again"], values)
        except psycopg2.errors.UniqueViolation:
            equal = "".join(row["id"] for row in self.db.rows(_SQL["equal"], {"id": job.id}))
            raise EqualUnderWay(f"An equal job is under way: {equal or 'it has just ended'}.") from None
        if not found:
            raise NotFailed("Only a failed job can be run again.")
        return tuple(Entry(row["stage"], job.id, row["name"]) for row in found)
