"""Runs one stage's steps in this process: read, claim, run, commit, add, acknowledge.

Every write names the claim's epoch; a crash between any two lines leaves a state from which the janitor, or the next
delivery of the entry, goes on.
"""

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from downloader import disk
from downloader.artifacts import folders
from downloader.broker import Broker, Delivery
from downloader.clock import Clock
from downloader.config import Settings
from downloader.errors import (
    BrokerUnavailable,
    Cancelled,
    DownloadError,
    Draining,
    LeaseLost,
    StepCrashed,
    StoreUnavailable,
    Verdict,
)
from downloader.route import ROUTE, percent_window
from downloader.store import Claim, Entry, Finished, Store
from downloader.vault import Vault
from stages import endings
from stages.beats import Beats
from stages.contract import Stage, StepContext, StepResult
from stages.held import Held
from stages.room import Room

T = TypeVar("T")

_STORE_PAUSE_SECONDS = 0.5

log = structlog.get_logger()


def nobody_watches(_boundary: str, _claim: Claim | None) -> None:
    """The boundary of production."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a runner works with. ``boundary`` is told each point at which a crash matters, for tests that kill there."""

    settings: Settings
    store: Store
    broker: Broker
    vault: Vault
    clock: Clock
    stop: threading.Event
    boundary: Callable[[str, Claim | None], None] = nobody_watches


class Runner:
    """Runs deliveries of one stage; ``run`` may be called from several slots' threads at once."""

    def __init__(self, stage: Stage, parts: Parts, beats: Beats) -> None:
        self._stage = stage
        self._parts = parts
        self._beats = beats
        self._room = Room(parts.settings, parts.store)

    def run(self, delivery: Delivery, worker: str) -> None:
        """Do what the entry asks for, if it is still to be done. Never raises but for bugs of its own."""
        entry = delivery.entry
        if entry.step not in ROUTE:
            # A newer version's step: left pending for a process that knows it.
            log.info("step_unknown", job=entry.job_id, step=entry.step)
            return
        self._parts.boundary("read", None)
        try:
            held = self._insist(lambda: self._claim(entry, worker))
            if held is None:
                self._pass_on(delivery)
                return
        except Draining:
            self._settle(delivery, add=[entry])
            return
        try:
            self._parts.boundary("claimed", held.claim)
            self._run_claimed(held, delivery)
        except Draining:
            # Postgres is away and we have to go: the lease runs out, and whoever comes next finds the work as it is.
            log.warning("step_left", job=entry.job_id, step=entry.step, epoch=held.claim.epoch)
            self._settle(delivery)
        finally:
            self._beats.drop(held)

    def _claim(self, entry: Entry, worker: str) -> Held | None:
        # The lease counts from before the question: an answer may find us long after it was given.
        asked = self._parts.clock.monotonic()
        claim = self._parts.store.claim(entry, worker, self._parts.settings.lease_seconds, ROUTE[entry.step])
        if claim is None:
            return None
        if claim.epoch > 1:
            self._fence(entry, claim.epoch)
        return self._beats.hold(claim, asked)

    def _fence(self, entry: Entry, epoch: int) -> None:
        try:
            self._parts.broker.fence(entry, epoch)
        except BrokerUnavailable as error:
            log.info("step_not_fenced", job=entry.job_id, step=entry.step, error=error.message)

    def _run_claimed(self, held: Held, delivery: Delivery) -> None:
        started = self._parts.clock.monotonic()
        try:
            self._beats.check(held)
            result = self._stage.run(self._context(held))
        except DownloadError as error:
            self._end(held, delivery, error, started)
        except Exception as error:  # noqa: BLE001 - whatever it is, the step ends
            self._end(held, delivery, self._unforeseen(held, error), started)
        else:
            self._parts.boundary("ran", held.claim)
            self._finish(held, delivery, result, started)

    def _unforeseen(self, held: Held, error: Exception) -> DownloadError:
        """What an error of none of our kinds means: a full disk, wherever it was met, a job that is gone, or a bug."""
        if isinstance(error, OSError) and disk.is_full(error):
            return disk.failure(error, self._parts.settings.data_dir)
        claim = held.claim
        try:
            # A job that was cancelled and deleted takes its files from under a stage that has not been told yet.
            self._beats.ask(held)
        except (Cancelled, LeaseLost) as gone:
            return gone
        except DownloadError as unknown:
            log.info("claim_unknown", job=claim.job.id, step=claim.name, epoch=claim.epoch, error=unknown.message)
        log.error("step_crashed", job=claim.job.id, step=claim.name, epoch=claim.epoch, exc_info=error)
        return StepCrashed("The step failed for a reason that is a bug of ours; the log has more.")

    def _context(self, held: Held) -> StepContext:
        claim, parts = held.claim, self._parts
        work = parts.settings.jobs_dir / claim.job.id
        try:
            work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk.failure(error, parts.settings.data_dir) from error
        sealed = claim.sealed_authorization
        return StepContext(
            job=claim.job,
            name=claim.name,
            epoch=claim.epoch,
            attempt=claim.attempts,
            inputs=claim.inputs,
            work=work,
            settings=parts.settings,
            clock=parts.clock,
            authorization=None if sealed is None else parts.vault.open(sealed),
            progress=held.progress,
            check=lambda: self._beats.check(held),
            reserve=lambda size: self._room.reserve(claim, size),
        )

    def _finish(self, held: Held, delivery: Delivery, result: StepResult, started: float) -> None:
        claim = held.claim
        route = ROUTE[claim.name]
        percent = percent_window(claim.name)[1]
        commit: Callable[[], Finished | None] = lambda: self._parts.store.finish(  # noqa: E731 - typed for _insist
            claim, result, timing=route.timing, percent=percent
        )
        finished = self._insist(commit)
        if finished is None:
            self._log(held, started, "lost")
            self._clean_if_ended(claim)
            self._settle(delivery)
            return
        self._parts.boundary("committed", claim)
        self._settle(delivery, add=finished.ready, ended=finished.ended)
        self._parts.boundary("acked", claim)
        if finished.ended:
            self._remove_work(claim)
        self._log(held, started, "done", **result.fields)

    def _end(self, held: Held, delivery: Delivery, error: DownloadError, started: float) -> None:
        """End the step as its error's verdict says."""
        claim = held.claim
        ending = endings.decide(claim, error)
        if ending.verdict is Verdict.FAIL:
            fail = self._parts.store.fail
            self._insist(lambda: fail(claim, ending.code, ending.message, crashes=ending.crashes))
            # The work is another's when the claim did not hold any more, or the job runs again already.
            self._clean_if_ended(claim)
            # Its last progress stays in Redis for a while: clients see how far the job came.
            self._settle(delivery)
        elif ending.verdict is Verdict.CANCELLED:
            self._clean_if_ended(claim)
            self._settle(delivery)
        else:
            back = self._insist(
                lambda: self._parts.store.give_back(
                    claim,
                    delay=ending.delay,
                    crashes=ending.crashes,
                    retries=ending.retries,
                    code=ending.code,
                    message=ending.message,
                )
            )
            # A delayed step is added by the janitor when it is due.
            self._settle(delivery, add=[delivery.entry] if back and not ending.delay else ())
        self._log(held, started, ending.verdict, code=error.code, error=error.message)

    def _pass_on(self, delivery: Delivery) -> None:
        """An entry whose step is not to be had: make sure that what follows it was added, then drop it."""
        outcome = self._insist(lambda: self._parts.store.outcome(delivery.entry))
        ready = [entry for entry in outcome.ready if entry != delivery.entry] if outcome else []
        self._settle(delivery, add=ready)

    def _settle(self, delivery: Delivery, *, add: "tuple[Entry, ...] | list[Entry]" = (), ended: bool = False) -> None:
        try:
            self._parts.broker.settle(delivery, add=add, ended=ended)
        except BrokerUnavailable as error:
            log.info("entry_not_settled", job=delivery.entry.job_id, step=delivery.entry.step, error=error.message)

    def _insist(self, write: Callable[[], T]) -> T:
        """The answer of ``write``, however long Postgres is away; Draining when this process has to end first."""
        while True:
            try:
                return write()
            except StoreUnavailable as error:
                log.warning("store_unavailable", error=error.message)
                if self._parts.stop.wait(_STORE_PAUSE_SECONDS):
                    raise Draining("The process is ending and Postgres is away.") from error

    def _clean_if_ended(self, claim: Claim) -> None:
        """Remove the work folder when the job has ended; leave it when it goes on, here or anywhere."""
        job_id, store = claim.job.id, self._parts.store
        try:
            folders.remove_ended(self._parts.settings.jobs_dir / job_id, lambda: not store.unfinished_of([job_id]))
        except DownloadError as error:
            log.info("work_folder_left", job=job_id, error=error.message)

    def _remove_work(self, claim: Claim) -> None:
        shutil.rmtree(self._parts.settings.jobs_dir / claim.job.id, ignore_errors=True)

    def _log(self, held: Held, started: float, end: str, **fields: object) -> None:
        claim = held.claim
        log.info(
            "step",
            end=str(end),
            job=claim.job.id,
            step=claim.name,
            epoch=claim.epoch,
            attempt=claim.attempts,
            waited_ms=round(claim.waited * 1000),
            took_ms=round((self._parts.clock.monotonic() - started) * 1000),
            **fields,
        )
