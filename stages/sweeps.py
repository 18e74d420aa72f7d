"""The sweeps: threads beside the janitor, so that storage that is away or slow holds up nothing but its own kind."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from downloader.errors import StoreUnavailable
from downloader.sweep import Removed, Sweep

# Soon after the start, for a process that is started again and again; not at once, when all else starts too.
_ORPHANS_FIRST_SECONDS = 60.0
_ORPHANS_SECONDS = 600.0
_SECONDS = 5.0
# What cannot be removed now is no sooner tried again: it may be many, and each is a line of the log.
_AFTER_FAILURE_SECONDS = 60.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Chore:
    """One kind of sweep: when it is done first, and how long it rests after each time (seconds)."""

    name: str
    do: Callable[[], Removed]
    first: float
    every: float

    def run(self, stop: threading.Event) -> None:
        """Sweep until ``stop`` is set."""
        pause = self.first
        while not stop.wait(pause):
            pause = self.run_once()

    def run_once(self) -> float:
        """Sweep once; the seconds until the next time."""
        try:
            removed = self.do()
        except StoreUnavailable as error:
            log.warning("sweep_put_off", sweep=self.name, error=error.message)
            return self.every
        except Exception:
            log.exception("sweep_failed", sweep=self.name)
        else:
            if not removed.failed:
                return self.every
        return max(self.every, _AFTER_FAILURE_SECONDS)


def chores(sweep: Sweep) -> tuple[Chore, ...]:
    """What the janitor has swept, each in a thread of its own. Any number of janitors may do so at once."""
    return (
        Chore("work_folders", sweep.work_folders, _SECONDS, _SECONDS),
        Chore("expired", sweep.expired, _SECONDS, _SECONDS),
        Chore("orphans", sweep.orphans, _ORPHANS_FIRST_SECONDS, _ORPHANS_SECONDS),
    )
