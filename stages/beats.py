"""Heartbeats beside the work: leases lengthened, cancels noticed, on a thread that neither curl nor PyAV can stop."""

import threading

import structlog

from downloader.clock import Clock
from downloader.config import Settings
from downloader.errors import StoreUnavailable
from downloader.route import ROUTE
from downloader.store import Claim, Store
from stages.duty import keep
from stages.held import Fate, Held
from stages.identity import Worker

# A cancel must stop network and CPU within a second: half of it goes to noticing.
LOOK_SECONDS = 0.4
_BEATS_PER_LEASE = 3
# What no other step needs is what clients get to see.
_SHOWN = {name for name in ROUTE if not any(name in step.needs for step in ROUTE.values())}

log = structlog.get_logger()


class Beats:
    """The claims that this process holds, kept alive by ``run`` on a thread of its own."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, worker: Worker) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._worker = worker
        self._held: dict[tuple[str, str, int], Held] = {}
        self._lock = threading.Lock()
        self._next_beat = 0.0
        # Since when this thread has looked around without a gap: a process that was stopped shows one.
        self._awake_since = self._awake = clock.monotonic()

    def hold(self, claim: Claim, asked: float) -> Held:
        """Begin to keep alive a claim that was asked for at ``asked`` (monotonic)."""
        held = Held(claim, self._settings, self._clock, confirmed=asked)
        with self._lock:
            self._held[claim.key] = held
        return held

    def drop(self, held: Held) -> None:
        """Stop keeping it alive: its step has ended here."""
        with self._lock:
            self._held.pop(held.claim.key, None)

    def all(self) -> list[Held]:
        """What is held now."""
        with self._lock:
            return list(self._held.values())

    def check(self, held: Held) -> None:
        """What a stage calls: raises Cancelled, LeaseLost, Draining or TimedOut; costs nothing while all is well.

        When the lease has run out unconfirmed because this process was stopped, it waits here until Postgres has been
        asked: a stale worker must not touch anything any more. When Postgres is away, a transfer goes on (its files
        are its epoch's own, its commit will wait); only what clients would see waits for Postgres.
        """
        held.judge()
        while held.unconfirmed and (held.claim.name in _SHOWN or not self.trusted(held)):
            try:
                self._look([held])
            except StoreUnavailable:
                self._clock.sleep(LOOK_SECONDS)
            held.judge()

    def ask(self, held: Held) -> None:
        """Ask Postgres now whether the claim holds: raises what ``check`` raises, and StoreUnavailable."""
        self._look([held])
        held.judge()

    def trusted(self, held: Held) -> bool:
        """Whether the claim is ours as far as can be known: it was confirmed, and this process never stopped since."""
        if held.fate is not Fate.OURS:
            return False
        gap = self._clock.monotonic() - self._awake
        return not held.unconfirmed or (gap < self._gap and held.confirmed >= self._awake_since)

    @property
    def _gap(self) -> float:
        return self._settings.lease_seconds / 2

    def run(self, stop: threading.Event) -> None:
        """Beat until ``stop`` is set."""
        keep(self.run_once, stop, LOOK_SECONDS)

    def run_once(self) -> None:
        """One look at what is held, and a beat when it is time for one."""
        now = self._clock.monotonic()
        if now - self._awake >= self._gap:
            self._awake_since = now
        self._awake = now
        held = self.all()
        try:
            if now >= self._next_beat:
                self._beat(held, now)
                self._store.here(self._worker.identity, self._worker.stage, self._worker.slots)
                self._next_beat = now + self._settings.lease_seconds / _BEATS_PER_LEASE
            elif held:
                self._look(held)
        except StoreUnavailable as error:
            log.warning("beat_missed", error=error.message)

    def _beat(self, held: list[Held], now: float) -> None:
        kept = self._store.beat([item.claim for item in held], self._settings.lease_seconds)
        for item in held:
            if item.claim.key in kept:
                item.confirmed = now
        self._look([item for item in held if item.claim.key not in kept])

    def _look(self, held: list[Held]) -> None:
        asked = self._clock.monotonic()
        lost = self._store.lost([item.claim for item in held])
        for item in held:
            cancelled = lost.get(item.claim.key)
            if cancelled is None:
                item.confirmed = asked
            else:
                item.fate = Fate.CANCELLED if cancelled else Fate.LOST
