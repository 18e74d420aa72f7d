"""Callbacks as their senders see them: claimed one at a time, settled as sent, put off or dropped."""

from dataclasses import dataclass

from downloader.job import Job
from downloader.store import rows
from downloader.store.database import Database
from downloader.store.statements import named

_SQL = named("callbacks.sql")


@dataclass(frozen=True, slots=True)
class Callback:
    """The right to tell ``url`` once how ``job`` ended, as of ``epoch``; ``attempt`` 1 is the first."""

    job: Job
    url: str
    epoch: int
    attempt: int


class Callbacks:
    """What is to be told to whom, over ``db``."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def claim_callback(self, lease: float, limit: int) -> Callback | None:
        """One that is due, for nobody else within ``lease`` seconds; None when none is.

        Counts the attempt before it is made; one that has had ``limit`` of them is dropped instead.
        """
        for row in self.db.rows(_SQL["claim"], {"lease": lease, "limit": limit}):
            return Callback(rows.job(row), row["callback_url"], row["epoch"], row["attempts"])
        return None

    def callback_sent(self, callback: Callback) -> bool:
        """Note that it has arrived; False when another sender has taken it, or its job was deleted."""
        return self._settle(callback, "sent")

    def callback_dropped(self, callback: Callback, error: str) -> bool:
        """Give it up for good; False as above."""
        return self._settle(callback, "dropped", error)

    def callback_put_off(self, callback: Callback, error: str, delay: float) -> bool:
        """Have it tried again in ``delay`` seconds; False as above."""
        return self._settle(callback, "due", error, delay)

    def _settle(self, callback: Callback, state: str, error: str | None = None, delay: float = 0.0) -> bool:
        values = {
            "job_id": callback.job.id,
            "epoch": callback.epoch,
            "state": state,
            "error": rows.as_text(error),
            "delay": delay,
        }
        return bool(self.db.rows(_SQL["settle"], values))
