"""The senders of callbacks: threads beside the janitor, so that a slow receiver holds up nothing but its own kind.

Any number of them may run, in any number of processes: each sends what it has claimed in Postgres.
"""

import random
import threading

import structlog

from downloader import callback_post, callbacks
from downloader.clock import Clock
from downloader.config import Settings
from downloader.errors import DownloadError, StoreUnavailable, Verdict
from downloader.store import Callback, Store

SENDERS = 4
TICK_SECONDS = 1.0
# Well beyond the 15 s that a receiver has: a claim lapses only when its sender is dead or stopped.
LEASE_SECONDS = 60.0
# 10 s, 30 s, 90 s and so on: the tenth attempt is made about a day after the first.
ATTEMPTS = 10
# As long as a receiver may ask us to wait (Retry-After) beyond the pause that is due.
LONGEST_WISH_SECONDS = 6 * 3600.0
_FIRST_DELAY_SECONDS = 10.0
_GROWTH = 3.0
_JITTER = 0.25

log = structlog.get_logger()


def delay(attempt: int, chance: float) -> float:
    """Seconds from failed ``attempt`` (1 is the first) to the next; ``chance`` of 0 to 1 spreads it by a quarter."""
    return _FIRST_DELAY_SECONDS * _GROWTH ** (attempt - 1) * (1 - _JITTER + 2 * _JITTER * chance)


class Callbacks:
    """Sends what is due; ``run`` may be the target of several threads."""

    def __init__(self, settings: Settings, store: Store, clock: Clock) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock

    def start(self, stop: threading.Event) -> list[threading.Thread]:
        """Start the senders; none where no host may be called. They end after ``stop``, or with the process."""
        if not self._settings.callback_allow_hosts:
            return []
        senders = [threading.Thread(target=self.run, args=(stop,), daemon=True) for _ in range(SENDERS)]
        for sender in senders:
            sender.start()
        return senders

    def run(self, stop: threading.Event) -> None:
        """Send until ``stop`` is set."""
        while not stop.is_set():
            try:
                busy = self.run_once()
            except StoreUnavailable as error:
                busy = False
                log.warning("callbacks_put_off", error=error.message)
            except Exception:
                # A bug: this callback's claim lapses; the others are sent all the same.
                busy = False
                log.exception("callback_crashed")
            if not busy:
                stop.wait(TICK_SECONDS)

    def run_once(self) -> bool:
        """Claim and send one that is due; whether there was one. Raises StoreUnavailable."""
        callback = self._store.claim_callback(LEASE_SECONDS, ATTEMPTS)
        if callback is None:
            return False
        started = self._clock.monotonic()
        body = callbacks.body(callback.job, self._settings.public_base_url, self._clock)
        error: DownloadError | None = None
        try:
            callback_post.send(callback.url, body, self._settings, self._clock)
        except DownloadError as caught:
            error = caught
        took = round((self._clock.monotonic() - started) * 1000)
        outcome, held = self._settle(callback, error)
        log.info(
            "callback",
            job=callback.job.id,
            attempt=callback.attempt,
            outcome=outcome if held else "overtaken",
            error=error.message if error else None,
            took_ms=took,
        )
        return True

    def _settle(self, callback: Callback, error: DownloadError | None) -> tuple[str, bool]:
        """(what became of it, whether that still was ours to say)."""
        if error is None:
            return "sent", self._store.callback_sent(callback)
        if error.verdict is Verdict.RETRY and callback.attempt < ATTEMPTS:
            pause = delay(callback.attempt, random.random())  # noqa: S311 - spreads load, keeps no secret
            pause = max(pause, min(error.retry_after or 0.0, LONGEST_WISH_SECONDS))
            return "put_off", self._store.callback_put_off(callback, error.message, pause)
        return "dropped", self._store.callback_dropped(callback, error.message)
