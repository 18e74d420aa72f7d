"""The janitor's own sign of life, which says whether leases that ran out are those of the dead."""

import threading
from contextlib import suppress

from downloader.clock import Clock
from downloader.config import Settings
from downloader.errors import StoreUnavailable
from downloader.store import Store
from stages.duty import keep
from stages.identity import Worker

TICK_SECONDS = 1.0
# A sign that comes so much later than the one before says that something was away; one that is only slow does not.
_GAP_TICKS = 3


class Pulse:
    """Written every second on a thread of its own, so that nothing but an absence comes between two signs.

    Postgres that is away or takes no writes, a process that is stopped and a machine that sleeps all keep the living
    from lengthening their leases; each leaves a gap here as well. After one, they are given a lease's time to do so.
    """

    def __init__(self, store: Store, settings: Settings, clock: Clock, worker: Worker) -> None:
        self._store = store
        self._lease = settings.lease_seconds
        self._clock = clock
        self._worker = worker
        self._lock = threading.Lock()
        self._last = clock.monotonic()
        self._believes_from = 0.0

    def run(self, stop: threading.Event) -> None:
        """Beat every second until ``stop`` is set."""
        keep(self._beat_if_possible, stop, TICK_SECONDS)

    def beat(self) -> bool:
        """Say that the janitor lives; whether leases that ran out may be believed. Raises StoreUnavailable."""
        with self._lock:
            # By the clock that leases end by as well: ours stands still while the machine sleeps.
            silent = self._store.here(self._worker.identity, self._worker.stage, self._worker.slots)
            now = self._clock.monotonic()
            if max(silent, now - self._last) > max(self._lease / 2, _GAP_TICKS * TICK_SECONDS):
                self._believes_from = now + self._lease
            self._last = now
            return now >= self._believes_from

    def _beat_if_possible(self) -> None:
        with suppress(StoreUnavailable):
            self.beat()
