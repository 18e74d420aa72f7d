"""One stage process: builds the real parts, runs its slots, drains when it is told to or when its supervisor dies."""

import importlib
import os
import signal
import threading
from collections.abc import Callable, Sequence

import structlog

from downloader.artifacts import open_store
from downloader.broker import Broker
from downloader.clock import SystemClock
from downloader.config import Settings
from downloader.errors import BrokerUnavailable, StoreUnavailable
from downloader.route import JANITOR, ROUTE
from downloader.store import Claim, Store
from downloader.sweep import Sweep
from downloader.vault import Vault
from stages import recovery
from stages.beats import Beats
from stages.callbacks import SENDERS, Callbacks
from stages.contract import Stage
from stages.feed import Feed
from stages.identity import Worker
from stages.janitor import Janitor
from stages.pulse import Pulse
from stages.runner import Parts, Runner, nobody_watches
from stages.source import Source
from stages.sweeps import chores

# Beside the slots: beats, the main thread, and one to spare.
_CONNECTIONS_BESIDE = 3
# Beside the janitor itself: senders of callbacks, and sweeps.
_JANITORS_THREADS = SENDERS + 3
_HAND_BACK_SECONDS = 1.5
_SIGNAL_SECONDS = 0.5
_TAKE_OVER_SECONDS = 0.5

log = structlog.get_logger()


def run(worker: Worker, settings: Settings, boundary: Callable[[str, Claim | None], None] = nobody_watches) -> int:
    """Work until SIGTERM, SIGINT or the end of the lifeline, then drain; returns the exit status."""
    connections = worker.slots + _CONNECTIONS_BESIDE + (_JANITORS_THREADS if worker.stage == JANITOR else 0)
    parts = Parts(
        settings=settings,
        store=Store(settings.database_location, max_connections=connections),
        broker=Broker(settings.redis_location, settings.redis_queue_key, snapshot_ttl=settings.job_ttl_seconds),
        vault=Vault.from_settings(settings),
        clock=SystemClock(),
        stop=threading.Event(),
        boundary=boundary,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: parts.stop.set())
    if worker.lifeline is not None:
        threading.Thread(target=_watch, args=(worker.lifeline, parts.stop), daemon=True).start()
    log.info("started", worker=worker.identity, slots=worker.slots)
    _succeed(worker, parts)
    if worker.stage == JANITOR:
        _run_janitor(worker, parts)
    else:
        _run_slots(worker, parts)
    _leave(worker, parts)
    parts.store.close()
    parts.broker.close()
    log.info("ended", worker=worker.identity)
    return 0


def build(stage: str, settings: Settings) -> Stage:
    """The stage that route.py names; loads its engine."""
    factory = next(step.factory for step in ROUTE.values() if step.stage == stage)
    module, _, name = factory.partition(":")
    made: Stage = getattr(importlib.import_module(module), name)(settings)
    return made


def _run_janitor(worker: Worker, parts: Parts) -> None:
    pulse = Pulse(parts.store, parts.settings, parts.clock, worker)
    sweep = Sweep(parts.settings, parts.store, open_store(parts.settings), parts.clock)
    # Daemons: storage that does not answer must not keep the process alive; a removal that is cut off is made again.
    for keep in (pulse.run, *(chore.run for chore in chores(sweep))):
        threading.Thread(target=keep, args=(parts.stop,), daemon=True).start()
    senders = Callbacks(parts.settings, parts.store, parts.clock).start(parts.stop)
    Janitor(parts.settings, store=parts.store, broker=parts.broker, pulse=pulse).run(parts.stop)
    deadline = parts.clock.monotonic() + parts.settings.drain_seconds
    for sender in senders:
        # One that is cut off has its callback sent again: better twice than never.
        sender.join(max(0.0, deadline - parts.clock.monotonic()))


def _run_slots(worker: Worker, parts: Parts) -> None:
    stage = build(worker.stage, parts.settings)
    beats = Beats(parts.store, parts.settings, parts.clock, worker)
    feed = Feed(beats, parts.broker, parts.clock)
    runner = Runner(stage, parts, beats)
    source = Source(parts.store, parts.broker, worker.stage, parts.stop, parts.clock)
    over = threading.Event()
    for part in (beats, feed):
        threading.Thread(target=part.run, args=(over,), daemon=True).start()
    # Daemons, so that a stage that does not let go cannot keep the process alive past its grace time.
    slots = [
        threading.Thread(target=_slot, args=(runner, source, worker.slot(number), parts.stop), daemon=True)
        for number in range(worker.slots)
    ]
    for slot in slots:
        slot.start()
    # Not without a limit: a signal that the kernel gives to another thread does not wake this one, and only this one
    # runs its handler.
    while not parts.stop.wait(_SIGNAL_SECONDS):
        pass
    _drain(slots, beats, parts)
    over.set()
    stage.close()


def _slot(runner: Runner, source: Source, consumer: str, stop: threading.Event) -> None:
    while not stop.is_set():
        delivery = source.next(consumer)
        if delivery is None:
            continue
        if stop.is_set():
            # Came while this process was told to end: for another one.
            source.put_back(delivery)
            return
        try:
            runner.run(delivery, consumer)
        except Exception:
            # A bug in the runner itself: this slot goes on; the step's lease runs out and it is tried elsewhere.
            log.exception("runner_failed", job=delivery.entry.job_id, step=delivery.entry.step)


def _drain(slots: Sequence[threading.Thread], beats: Beats, parts: Parts) -> None:
    """Let steps finish for the grace time, then ask them back."""
    deadline = parts.clock.monotonic() + parts.settings.drain_seconds
    for slot in slots:
        slot.join(max(0.0, deadline - parts.clock.monotonic()))
    for held in beats.all():
        held.drained = True
    deadline = parts.clock.monotonic() + _HAND_BACK_SECONDS
    for slot in slots:
        slot.join(max(0.0, deadline - parts.clock.monotonic()))


def _succeed(worker: Worker, parts: Parts) -> None:
    """Take over from the dead, at once, or else as soon as Postgres and Redis are there again."""
    put_off = _take_over(worker, parts, worker.succeeds)
    if put_off:
        threading.Thread(target=_take_over_later, args=(worker, parts, put_off), daemon=True).start()


def _take_over_later(worker: Worker, parts: Parts, put_off: Sequence[str]) -> None:
    while put_off and not parts.stop.wait(_TAKE_OVER_SECONDS):
        put_off = _take_over(worker, parts, put_off)


def _take_over(worker: Worker, parts: Parts, dead: Sequence[str]) -> Sequence[str]:
    """Those of ``dead`` that cannot be succeeded now."""
    put_off = []
    for each in dead:
        try:
            recovery.succeed(parts.store, parts.broker, each, worker.stage, worker.slots)
        except (StoreUnavailable, BrokerUnavailable) as error:
            log.warning("succession_put_off", dead=each, error=error.message)
            put_off.append(each)
    return put_off


def _leave(worker: Worker, parts: Parts) -> None:
    try:
        parts.store.leave(worker.identity)
        for number in range(worker.slots if worker.stage != JANITOR else 0):
            if not parts.broker.left_by(worker.stage, worker.slot(number)):
                parts.broker.forget(worker.stage, worker.slot(number))
    except (StoreUnavailable, BrokerUnavailable) as error:
        log.info("left_without_a_word", error=error.message)


def _watch(lifeline: int, stop: threading.Event) -> None:
    """Block until the supervisor's end of the pipe closes, then end like at a SIGTERM."""
    os.read(lifeline, 1)
    stop.set()
