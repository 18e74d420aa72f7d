"""What an operator counts: jobs by how they stand or ended, steps that wait, disk set aside, callbacks to make."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from downloader.states import Status
from downloader.store.database import Database
from downloader.store.statements import named

_SQL = named("census.sql")


@dataclass(frozen=True, slots=True)
class Census:
    """Counts of what Postgres holds now; what is not there is missing.

    ``jobs`` by status; ``failed`` jobs by code (empty where an older service noted none); ``waiting`` steps by stage;
    ``reserved`` bytes on all volumes; ``callbacks`` that are still to be made.
    """

    jobs: Mapping[Status, int]
    failed: Mapping[str, int]
    waiting: Mapping[str, int]
    reserved: int
    callbacks: int


class Counting:
    """Counts over all jobs, over ``db``."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def census(self) -> Census:
        """Everything at one moment. Raises StoreUnavailable."""
        jobs: Counter[Status] = Counter()
        failed: dict[str, int] = {}
        others: dict[str, dict[str, int]] = {"waiting": {}, "reserved": {}, "callbacks": {}}
        for row in self.db.rows(_SQL["census"]):
            if row["what"] != "jobs":
                others[row["what"]][row["label"]] = row["n"]
                continue
            status = Status(row["label"])
            jobs[status] += row["n"]
            if status is Status.FAILED:
                failed[row["code"]] = row["n"]
        return Census(jobs, failed, others["waiting"], others["reserved"][""], others["callbacks"][""])
