"""Postgres, the truth: jobs, steps, reservations, workers. Values in, values out; SQL in the .sql files beside."""

from downloader.job import Entry
from downloader.store.again import Again, EqualUnderWay, NotFailed
from downloader.store.callbacks import Callback, Callbacks
from downloader.store.census import Census, Counting
from downloader.store.database import Database
from downloader.store.jobs import Jobs, NewJob, NotCancellable, Posted, QueueFull, StillRunning
from downloader.store.migrate import migrate, pending
from downloader.store.recovery import Backlog, Recovery
from downloader.store.steps import Claim, Finished, Lapsed, Outcome, Reserved, Steps

__all__ = [
    "Again",
    "Backlog",
    "Callback",
    "Callbacks",
    "Census",
    "Claim",
    "Counting",
    "Database",
    "Entry",
    "EqualUnderWay",
    "Finished",
    "Jobs",
    "Lapsed",
    "NewJob",
    "NotCancellable",
    "NotFailed",
    "Outcome",
    "Posted",
    "QueueFull",
    "Recovery",
    "Reserved",
    "Steps",
    "StillRunning",
    "Store",
    "migrate",
    "pending",
]


class Store(Jobs, Steps, Recovery, Callbacks, Counting, Again):
    """Everything that is asked of Postgres, over one pool; each call is one round trip and thread-safe."""

    def __init__(self, dsn: str, *, max_connections: int = 8) -> None:
        super().__init__(Database(dsn, size=max_connections))

    def close(self) -> None:
        """Close the pool's idle connections."""
        self.db.close()
