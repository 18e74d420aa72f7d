"""One stream and one consumer group per stage. Entries carry ids only and are hints: Postgres knows what is to be done.

An entry is deleted when it is acknowledged, so a stream holds what is undelivered or pending and nothing needs
trimming, which could drop what is pending.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from downloader.broker.client import connect, translated
from downloader.job import Entry

GROUP = "workers"

# How long a read waits on the server, and how much longer for its answer before the connection counts as dead.
BLOCK_SECONDS = 2.0
_PATIENCE_SECONDS = 3.0
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Delivery:
    """An entry as it was read; ``message_id`` acknowledges it. ``message_id`` is empty for one found without Redis."""

    entry: Entry
    message_id: str = ""


class Streams:
    """The stages' queues. Every method raises BrokerUnavailable when Redis is away or refuses."""

    def __init__(self, url: str, prefix: str) -> None:
        self._prefix = prefix
        self._commands = connect(url, timeout=_PATIENCE_SECONDS)
        self._blocking = connect(url, timeout=BLOCK_SECONDS + _PATIENCE_SECONDS)

    def key(self, stage: str) -> str:
        """The key of a stage's stream."""
        return f"{self._prefix}:{stage}"

    def add(self, entries: Sequence[Entry]) -> None:
        """Add entries, in one round trip."""
        with translated(), self._commands.pipeline(transaction=False) as pipe:
            for entry in entries:
                pipe.xadd(self.key(entry.stage), entry_fields(entry))
            pipe.execute()

    def read(self, stage: str, consumer: str, *, block: float = BLOCK_SECONDS) -> Delivery | None:
        """The next entry of ``stage`` for ``consumer``, or None when none came within ``block`` seconds.

        Makes the group anew when it is not there, with all that the stream holds.
        """
        key = self.key(stage)
        milliseconds = max(1, int(block * 1000))
        with translated():
            try:
                found = self._blocking.xreadgroup(GROUP, consumer, {key: ">"}, count=1, block=milliseconds)
            except ResponseError as error:
                if not gone(error):
                    raise
                self._make_group(stage)
                return None
            return next(self._deliveries(stage, found[0][1]), None) if found else None

    def left_by(self, stage: str, consumer: str) -> list[Delivery]:
        """What ``consumer`` has read and not acknowledged."""
        with translated():
            try:
                found = self._commands.xreadgroup(GROUP, consumer, {self.key(stage): "0"}, count=_PAGE)
            except ResponseError as error:
                if gone(error):
                    return []
                raise
            return list(self._deliveries(stage, found[0][1])) if found else []

    def stale(self, stage: str, consumer: str, idle: float) -> list[Delivery]:
        """Take over, for ``consumer``, what has been pending for ``idle`` seconds."""
        with translated():
            try:
                answer = self._commands.xautoclaim(
                    self.key(stage), GROUP, consumer, min_idle_time=int(idle * 1000), start_id="0-0", count=_PAGE
                )
            except ResponseError as error:
                if gone(error):
                    return []
                raise
            return list(self._deliveries(stage, answer[1]))

    def undelivered(self, stage: str) -> int:
        """How many entries nobody has read yet."""
        with translated():
            try:
                pending = self._commands.xpending(self.key(stage), GROUP)
            except ResponseError as error:
                if not gone(error):
                    raise
                self._make_group(stage)
                return int(self._commands.xlen(self.key(stage)))
            return max(0, int(self._commands.xlen(self.key(stage))) - int(pending["pending"]))

    def entries(self, stage: str) -> set[Entry]:
        """Every entry that the stream holds, read or not."""
        found: set[Entry] = set()
        start = "-"
        with translated():
            while page := self._commands.xrange(self.key(stage), min=start, max="+", count=_PAGE):
                found.update(delivery.entry for delivery in self._deliveries(stage, page))
                start = f"({page[-1][0]}"
        return found

    def forget(self, stage: str, consumer: str) -> None:
        """Remove a consumer that has ended and left nothing."""
        with translated():
            try:
                self._commands.xgroup_delconsumer(self.key(stage), GROUP, consumer)
            except ResponseError as error:
                if not gone(error):
                    raise

    def forget_idle(self, stage: str, idle: float) -> int:
        """Remove the consumers that hold nothing and have not asked for ``idle`` seconds; how many.

        A slot asks every few seconds, so these have ended with their machine. One that comes back is made anew.
        """
        key, removed = self.key(stage), 0
        with translated():
            try:
                for consumer in self._commands.xinfo_consumers(key, GROUP):
                    if not consumer["pending"] and consumer["idle"] >= idle * 1000:
                        self._commands.xgroup_delconsumer(key, GROUP, consumer["name"])
                        removed += 1
            except ResponseError as error:
                if not gone(error):
                    raise
        return removed

    def ping(self) -> None:
        """Raise BrokerUnavailable when Redis is away."""
        with translated():
            self._commands.ping()

    def close(self) -> None:
        """Close all connections."""
        self._commands.close()
        self._blocking.close()

    def _make_group(self, stage: str) -> None:
        try:
            self._commands.xgroup_create(self.key(stage), GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    @staticmethod
    def _deliveries(stage: str, messages: Any) -> Iterator[Delivery]:
        for message_id, fields in messages:
            # A pending entry that was deleted comes back without fields: nothing to do for it.
            if fields and "job" in fields and "step" in fields:
                yield Delivery(Entry(stage, fields["job"], fields["step"]), message_id)


def entry_fields(entry: Entry) -> dict[Any, Any]:
    """An entry as the fields of a stream message."""
    return {"job": entry.job_id, "step": entry.step}


def gone(error: ResponseError) -> bool:
    """Whether the stream or its group is not there (yet, or any more)."""
    text = str(error)
    return "NOGROUP" in text or "requires the key to exist" in text or "no such key" in text.lower()
