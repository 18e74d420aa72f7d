"""The janitor: what was lost moves again, what has ended leaves nothing behind.

Everything it does is guarded, so any number of janitors may run; all of it follows the database's state, never an
entry's or a file's age alone.
"""

import threading
from collections.abc import Iterable

import structlog

from downloader.broker import Broker
from downloader.clock import Clock
from downloader.config import Settings
from downloader.errors import BrokerUnavailable, DownloadError, StoreUnavailable
from downloader.route import stage_names
from downloader.states import StepState
from downloader.store import Entry, Store
from downloader.sweep import Sweep
from stages import recovery
from stages.identity import Worker

TICK_SECONDS = 1.0
# A step is committed a moment before its entry is added: only after this long is the entry missing.
GRACE_SECONDS = 1.5
# A tick that comes so much later than the one before says that something was away; one that is only slow does not.
_GAP_TICKS = 3
_STALE_EVERY = 5
_SWEEP_EVERY = 5
_DEEP_SWEEP_EVERY = 600
_DEEP_SWEEP_FIRST = 60  # soon, for a janitor that is restarted again and again; not at once, when all else starts too
_IDLE_SECONDS = 3600.0
CONSUMER = "janitor"

log = structlog.get_logger()


class Janitor:
    """One tick a second; what one cannot do is done by a later one."""

    def __init__(
        self, settings: Settings, *, store: Store, broker: Broker, clock: Clock, sweep: Sweep, worker: Worker
    ) -> None:
        self._settings = settings
        self._store = store
        self._broker = broker
        self._clock = clock
        self._sweep = sweep
        self._worker = worker
        self._ticks = 0
        self._last_tick = clock.monotonic()
        self._no_reaping_before = 0.0

    def run(self, stop: threading.Event) -> None:
        """Tick until ``stop`` is set."""
        while not stop.wait(TICK_SECONDS):
            self.run_once()

    def run_once(self) -> None:
        """One tick. What cannot be done now is done by a later one."""
        for chore in (self._reap, self._refill, self._reclaim, self._tidy):
            try:
                chore()
            except (StoreUnavailable, BrokerUnavailable) as error:
                log.warning("chore_put_off", chore=chore.__name__.strip("_"), error=error.message)
            except (DownloadError, OSError):
                log.exception("chore_failed", chore=chore.__name__.strip("_"))
        self._ticks += 1

    def _reap(self) -> None:
        """Running steps whose lease ran out are ready again, or poisoned."""
        now = self._clock.monotonic()
        self._store.ping()
        if now - self._last_tick > max(self._settings.lease_seconds / 2, _GAP_TICKS * TICK_SECONDS):
            # Postgres was away, or we were: the living need a moment to renew their leases.
            self._no_reaping_before = now + self._settings.lease_seconds
        self._last_tick = now
        if now >= self._no_reaping_before:
            recovery.take_from_the_dead(self._store, self._broker, self._store.lapsed(), expired_only=True)
        self._store.here(self._worker.identity, self._worker.stage, self._worker.slots)

    def _refill(self) -> None:
        """Ready steps without an entry get one: after a crash between commit and add, a pause, or a loss of Redis."""
        for stage, due in self._store.due_counts(GRACE_SECONDS).items():
            if due > self._broker.undelivered(stage):
                known = self._broker.entries(stage)
                missing = [entry for entry in self._store.due(stage, GRACE_SECONDS) if entry not in known]
                self._add(missing)

    def _reclaim(self) -> None:
        """Entries that the dead have read: added anew when their step is ready, dropped when it is not running."""
        if self._ticks % _STALE_EVERY:
            return
        for stage in stage_names():
            for delivery in self._broker.stale(stage, CONSUMER, self._settings.lease_seconds):
                outcome = self._store.outcome(delivery.entry)
                if outcome is None or outcome.state is not StepState.RUNNING:
                    self._broker.settle(delivery, add=outcome.ready if outcome else ())

    def _tidy(self) -> None:
        if self._ticks % _SWEEP_EVERY == 0:
            self._store.mend()
            self._sweep.work_folders()
            self._sweep.expired()
        if self._ticks % _DEEP_SWEEP_EVERY == _DEEP_SWEEP_FIRST:
            self._store.forget_workers()
            for stage in stage_names():
                self._broker.forget_idle(stage, _IDLE_SECONDS)
            self._sweep.orphans()

    def _add(self, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        if entries:
            self._broker.add(entries)
            log.info("entries_added", count=len(entries), stage=entries[0].stage)
