"""The janitor: what was lost moves again. What has ended is swept beside it (sweeps.py).

Everything it does is guarded, so any number of janitors may run; all of it follows the database's state, never an
entry's age alone. It asks nothing but Postgres and Redis, so that no storage holds it up.
"""

import threading
from collections.abc import Iterable

import structlog

from downloader.broker import Broker
from downloader.config import Settings
from downloader.errors import BrokerUnavailable, StoreUnavailable
from downloader.route import stage_names
from downloader.states import StepState
from downloader.store import Entry, Store
from stages import recovery
from stages.duty import keep
from stages.held import timed_out
from stages.pulse import Pulse

TICK_SECONDS = 1.0
# A step is committed a moment before its entry is added: only after this long is the entry missing.
GRACE_SECONDS = 1.5
_STALE_EVERY = 5
_TIME_OUT_EVERY = 5
_MEND_EVERY = 5
_FORGET_EVERY = 600
_IDLE_SECONDS = 3600.0
CONSUMER = "janitor"

log = structlog.get_logger()


class Janitor:
    """One tick a second; what one cannot do is done by a later one."""

    def __init__(self, settings: Settings, *, store: Store, broker: Broker, pulse: Pulse) -> None:
        self._settings = settings
        self._store = store
        self._broker = broker
        self._pulse = pulse
        self._ticks = 0

    def run(self, stop: threading.Event) -> None:
        """Tick until ``stop`` is set."""
        keep(self.run_once, stop, TICK_SECONDS)

    def run_once(self) -> None:
        """One tick. What cannot be done now is done by a later one."""
        for chore in (self._reap, self._refill, self._reclaim, self._time_out, self._mend, self._forget):
            try:
                chore()
            except (StoreUnavailable, BrokerUnavailable) as error:
                log.warning("chore_put_off", chore=chore.__name__.strip("_"), error=error.message)
            except Exception:
                # A bug: the other chores are done all the same.
                log.exception("chore_failed", chore=chore.__name__.strip("_"))
        self._ticks += 1

    def _reap(self) -> None:
        """Running steps whose lease ran out are ready again, or poisoned."""
        if self._pulse.beat():
            recovery.take_from_the_dead(self._store, self._broker, self._store.lapsed(), expired_only=True)

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

    def _time_out(self) -> None:
        """Jobs whose time is over end while they wait, too."""
        if self._ticks % _TIME_OUT_EVERY == 0:
            limit = self._settings.job_time_limit_seconds
            for job_id in self._store.time_out(limit, timed_out(self._settings)):
                log.info("job_timed_out", job=job_id)
                self._broker.announce(job_id)

    def _mend(self) -> None:
        if self._ticks % _MEND_EVERY == 0:
            self._store.mend()

    def _forget(self) -> None:
        """Processes and consumers that ended long ago."""
        if self._ticks % _FORGET_EVERY == 0:
            self._store.forget_workers()
            for stage in stage_names():
                self._broker.forget_idle(stage, _IDLE_SECONDS)

    def _add(self, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        if entries:
            self._broker.add(entries)
            log.info("entries_added", count=len(entries), stage=entries[0].stage)
