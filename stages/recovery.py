"""Taking steps from the dead: by the janitor when a lease ran out, by a successor that knows of the death."""

from collections.abc import Iterable

import structlog

from downloader.broker import Broker
from downloader.errors import BrokerUnavailable, StepCrashed, Verdict
from downloader.route import ROUTE
from downloader.store import Lapsed, Store
from stages import endings

log = structlog.get_logger()


def take_from_the_dead(store: Store, broker: Broker, lapsed: Iterable[Lapsed], *, expired_only: bool) -> None:
    """Make each step ready again and add its entry, or end its job after the third crash."""
    for item in lapsed:
        crash = StepCrashed(f"The process that ran the step {item.entry.step} died.")
        ending = endings.crashed(item.crashes, crash)
        if ending.verdict is Verdict.FAIL:
            ended = store.fail(item, ending.code, ending.message, crashes=1, expired_only=expired_only)
            if ended:
                _try(broker, item, ended=True)
        else:
            ended = store.give_back(
                item, crashes=1, code=ending.code, message=ending.message, expired_only=expired_only
            )
            if ended:
                _try(broker, item, ended=False)
        if ended:
            entry = item.entry
            log.warning("step_lapsed", job=entry.job_id, step=entry.step, worker=item.worker, end=str(ending.verdict))


def succeed(store: Store, broker: Broker, worker: str, stage: str, slots: int) -> None:
    """Take over what the dead process ``worker`` held: its running steps and the entries that it had read."""
    take_from_the_dead(store, broker, store.lapsed(worker), expired_only=False)
    for slot in range(slots):
        consumer = f"{worker}/{slot}"
        for delivery in broker.left_by(stage, consumer):
            outcome = store.outcome(delivery.entry) if delivery.entry.step in ROUTE else None
            broker.settle(delivery, add=outcome.ready if outcome else ())
        broker.forget(stage, consumer)
    store.leave(worker)


def _try(broker: Broker, item: Lapsed, *, ended: bool) -> None:
    entry = item.entry
    try:
        broker.fence(entry, item.epoch + 1)
        if not ended:
            broker.add([entry])
        broker.announce(entry.job_id)
    except BrokerUnavailable as error:
        log.info("entry_not_added", job=entry.job_id, step=entry.step, error=error.message)
