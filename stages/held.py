"""A claim while its step runs: how far it is, and whether it is still ours. Shared by slot, beats and feed threads."""

from dataclasses import dataclass, field
from datetime import UTC, timedelta
from enum import Enum

from downloader.clock import Clock
from downloader.config import Settings
from downloader.errors import Cancelled, Draining, LeaseLost, TimedOut
from downloader.store import Claim


class Fate(Enum):
    """What others did to a claim."""

    OURS = "ours"
    CANCELLED = "cancelled"
    LOST = "lost"


def timed_out(settings: Settings) -> TimedOut:
    """The error of a job whose time is over, whether it works or waits."""
    limit = settings.job_time_limit_seconds
    return TimedOut(f"The job took longer than the {limit} s it may (JOB_TIME_LIMIT_SECONDS).")


@dataclass(slots=True)
class Held:
    """``done`` and ``total`` are what the stage said last; ``confirmed`` (monotonic) when Postgres last agreed."""

    claim: Claim
    settings: Settings
    clock: Clock
    confirmed: float
    fate: Fate = Fate.OURS
    drained: bool = False
    done: int = 0
    total: int = 0
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        now = self.clock.now()
        limit = timedelta(seconds=self.settings.job_time_limit_seconds)
        ends = (self.claim.job.started_at or now).astimezone(UTC) + limit
        self.deadline = self.clock.monotonic() + (ends - now).total_seconds()

    def progress(self, done: int, total: int) -> None:
        """What a stage calls, as often as it likes."""
        self.done = done
        self.total = total

    def judge(self) -> None:
        """Raise what became of the claim, from memory alone."""
        if self.fate is Fate.CANCELLED:
            raise Cancelled("The job was cancelled.")
        if self.fate is Fate.LOST:
            raise LeaseLost("Another process has taken the step over.")
        if self.drained:
            raise Draining("The process is ending; the step goes back.")
        if self.clock.monotonic() > self.deadline:
            raise timed_out(self.settings)

    @property
    def unconfirmed(self) -> bool:
        """True when the lease has run out as far as we can tell: nothing may be touched before Postgres is asked."""
        return self.clock.monotonic() - self.confirmed > self.settings.lease_seconds
