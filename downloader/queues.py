"""The stages' queues: what waits, what runs, who is there to do it, and what is wrong with that."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from downloader.route import JANITOR, stage_names
from downloader.store import Backlog, Store

# One of its sweeps may list a whole bucket before it says so again.
_JANITOR_SECONDS = 60.0
_EMPTY = Backlog(ready=0, running=0, oldest=0.0)


@dataclass(frozen=True, slots=True)
class Queue:
    """One stage's queue: steps ready and running, seconds that the oldest ready one has waited, live slots."""

    ready: int
    running: int
    oldest: float
    slots: int

    @property
    def stuck(self) -> bool:
        """Whether steps wait that nobody will take."""
        return self.ready > 0 and self.slots == 0

    def __str__(self) -> str:
        waits = f" (the oldest for {self.oldest:.0f} s)" if self.ready else ""
        return f"{self.ready} ready{waits}, {self.running} running, {self.slots} slots"


@dataclass(frozen=True, slots=True)
class Queues:
    """Every stage's queue, those of the route first, and how many janitors live."""

    stages: Mapping[str, Queue]
    janitors: int

    def troubles(self) -> Iterator[str]:
        """A sentence for each stage that has nobody to work for it."""
        for stage, queue in self.stages.items():
            if queue.stuck:
                yield f"{stage}: no worker lives and {queue.ready} steps wait, the oldest for {queue.oldest:.0f} s"
            elif not queue.slots and stage in stage_names():
                yield f"{stage}: no worker lives"

    @property
    def janitor_trouble(self) -> str:
        """A sentence when no janitor lives, else empty."""
        return "" if self.janitors else "no janitor lives: what is lost or has ended is not seen to"


def read(store: Store) -> Queues:
    """The queues as they are. Raises StoreUnavailable."""
    backlog, slots = store.backlog(), store.workers()
    janitors = store.workers(age=_JANITOR_SECONDS).get(JANITOR, 0)
    names = dict.fromkeys([*stage_names(), *sorted({*backlog, *slots} - {JANITOR})])
    return Queues({name: _queue(backlog.get(name, _EMPTY), slots.get(name, 0)) for name in names}, janitors)


def _queue(backlog: Backlog, slots: int) -> Queue:
    return Queue(backlog.ready, backlog.running, backlog.oldest, slots)
