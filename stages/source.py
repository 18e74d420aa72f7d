"""Where a slot gets its next entry: from the stage's stream, or from Postgres while Redis is away or takes none."""

import random
import threading

import structlog

from downloader.broker import Broker, Delivery
from downloader.clock import Clock
from downloader.errors import BrokerUnavailable, StoreUnavailable
from downloader.route import ROUTE
from downloader.store import Store

_POLL_SECONDS = 0.5
_POLL_LIMIT = 20
_REMINDER_SECONDS = 60.0
# The janitor has added an entry long before; if not, it is dead, or Redis takes no writes (full, a replica).
OVERDUE_SECONDS = 5.0

log = structlog.get_logger()


class Source:
    """Entries of one stage."""

    def __init__(self, store: Store, broker: Broker, stage: str, stop: threading.Event, clock: Clock) -> None:
        self._store = store
        self._broker = broker
        self._stage = stage
        self._stop = stop
        self._clock = clock
        self._lock = threading.Lock()
        # When it was last logged that Redis is away; None while it is there.
        self._away: float | None = None

    def put_back(self, delivery: Delivery) -> None:
        """Give an entry that was read but not looked at to another process; never raises."""
        try:
            self._broker.settle(delivery, add=[delivery.entry])
        except BrokerUnavailable as error:
            log.info("entry_not_put_back", job=delivery.entry.job_id, error=error.message)

    def next(self, consumer: str) -> Delivery | None:
        """The next entry, or None when none came for a while. Blocks for about two seconds; never raises."""
        try:
            found = self._broker.read(self._stage, consumer)
        except BrokerUnavailable as error:
            self._say_away(error)
            self._stop.wait(_POLL_SECONDS)
            return self._due(0.0)
        self._say_back()
        return found or self._due(OVERDUE_SECONDS)

    def _say_away(self, error: BrokerUnavailable) -> None:
        """All slots come here twice a second: the first is logged, and then one a minute."""
        now = self._clock.monotonic()
        with self._lock:
            if self._away is not None and now - self._away < _REMINDER_SECONDS:
                return
            self._away = now
        log.warning("queue_unreachable", error=error.message)

    def _say_back(self) -> None:
        with self._lock:
            if self._away is None:
                return
            self._away = None
        log.info("queue_reachable")

    def _due(self, grace: float) -> Delivery | None:
        """A step that has been ready for ``grace`` seconds, by Postgres."""
        try:
            found = self._store.due(self._stage, grace=grace, limit=_POLL_LIMIT)
        except StoreUnavailable:
            return None
        # A newer version's step is left for a process that knows it.
        due = [entry for entry in found if entry.step in ROUTE]
        # Slots that poll at the same moment should not all try the same step.
        return Delivery(random.choice(due)) if due else None  # noqa: S311 - no secret depends on it
