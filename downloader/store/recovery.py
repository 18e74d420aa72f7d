"""What the janitor and the supervisors do: find what stands still and let it move."""

from dataclasses import dataclass

from downloader.errors import DownloadError
from downloader.job import Entry
from downloader.route import steps_for
from downloader.store import rows
from downloader.store.database import Database
from downloader.store.statements import named
from downloader.store.steps import Lapsed

_SQL = named("steps.sql")


@dataclass(frozen=True, slots=True)
class Backlog:
    """A stage's queue: steps ready, steps running, and the age of the oldest ready one in seconds."""

    ready: int
    running: int
    oldest: float


class Recovery:
    """Steps as the janitor sees them, over ``db``."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def lapsed(self, worker: str = "") -> list[Lapsed]:
        """Running steps whose lease ran out or, where ``worker`` names a dead process, all that it ran."""
        return [
            Lapsed(Entry(row["stage"], row["job_id"], row["name"]), row["epoch"], row["crashes"], row["worker"])
            for row in self.db.rows(_SQL["lapsed"], {"worker": worker})
        ]

    def due(self, stage: str, grace: float, limit: int = 100_000) -> list[Entry]:
        """Steps of ``stage`` that have been ready for ``grace`` seconds, oldest first."""
        found = self.db.rows(_SQL["due"], {"stage": stage, "grace": grace, "limit": limit})
        return [Entry(row["stage"], row["job_id"], row["name"]) for row in found]

    def due_counts(self, grace: float) -> dict[str, int]:
        """How many steps have been ready for ``grace`` seconds, per stage."""
        return {row["stage"]: row["due"] for row in self.db.rows(_SQL["due_counts"], {"grace": grace})}

    def mend(self) -> None:
        """Let what stands still for good go on.

        Jobs that an older service left without steps are given theirs; steps that wait although all they need is done
        are ready; disk that ended jobs still hold is free.
        """
        for job in map(rows.job, self.db.rows(_SQL["stepless"])):
            self.db.rows(_SQL["give_steps"], {"id": job.id, "steps": rows.steps(steps_for(job.options))})
        self.db.rows(_SQL["unblock"])
        self.db.rows(_SQL["unreserve"])

    def time_out(self, limit: float, error: DownloadError) -> list[str]:
        """End with ``error`` the jobs that began ``limit`` seconds ago and wait for anything; their ids."""
        values = {"limit": limit, "error": error.message, "error_code": error.code}
        return [row["id"] for row in self.db.rows(_SQL["time_out"], values)]

    def forget_workers(self) -> None:
        """Drop the rows of processes not heard of for an hour."""
        self.db.rows(_SQL["forget_workers"])

    def backlog(self) -> dict[str, Backlog]:
        """Every stage's queue."""
        return {
            row["stage"]: Backlog(row["ready"], row["running"], float(row["oldest"]))
            for row in self.db.rows(_SQL["backlog"])
        }
