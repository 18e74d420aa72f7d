"""Redis, the hint: the stages' streams and live progress. Losing all of it costs seconds, never a job."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from redis.exceptions import ResponseError

from downloader.broker import live
from downloader.broker.client import connect, translated
from downloader.broker.streams import BLOCK_SECONDS, GROUP, Delivery, Streams, entry_fields, gone
from downloader.errors import BrokerUnavailable
from downloader.job import Entry, Progress

__all__ = ["BLOCK_SECONDS", "GROUP", "Broker", "Delivery"]


class Broker(Streams):
    """Streams and live progress under one prefix; thread-safe."""

    def __init__(self, url: str, prefix: str, *, snapshot_ttl: int = 600) -> None:
        super().__init__(url, prefix)
        self._url = url
        self._ttl = snapshot_ttl

    def settle(self, done: Delivery, *, add: Sequence[Entry] = (), ended: bool = False) -> None:
        """After a commit: add what is ready now, acknowledge ``done``, tell the job's watchers. One round trip.

        All or nothing: where Redis refuses to add (full, read-only), ``done`` stays pending and comes again.
        """
        job_id = done.entry.job_id
        key = self.key(done.entry.stage)
        with translated(), self._commands.pipeline(transaction=True) as pipe:
            for entry in add:
                pipe.xadd(self.key(entry.stage), entry_fields(entry))
            if done.message_id:
                pipe.xack(key, GROUP, done.message_id)
                pipe.xdel(key, done.message_id)
            if ended:
                pipe.delete(live.snapshot_key(self._prefix, job_id))
            pipe.publish(live.channel(self._prefix, job_id), live.CHANGED)
            for answer in pipe.execute(raise_on_error=False):
                if isinstance(answer, ResponseError) and not gone(answer):  # with its group, ``done`` is gone as well
                    raise answer

    def announce(self, job_id: str) -> None:
        """Tell the watchers of a job that its row changed."""
        with translated():
            self._commands.publish(live.channel(self._prefix, job_id), live.CHANGED)

    def publish(self, progress: Mapping[str, Progress]) -> None:
        """Publish the progress of jobs (by id) and keep it as their snapshots, in one round trip.

        Redis itself drops what a stale claim says, however late a process that was stopped comes to send it.
        """
        with translated(), self._commands.pipeline(transaction=False) as pipe:
            for job_id, value in progress.items():
                pipe.eval(
                    live.PUBLISH,
                    2,
                    live.fence_key(self._prefix, job_id),
                    live.snapshot_key(self._prefix, job_id),
                    value.step,
                    value.epoch,
                    self._ttl,
                    msgspec.json.encode(value),
                    live.channel(self._prefix, job_id),
                    live.progress_message(value),
                )
            pipe.execute()

    def fence(self, entry: Entry, epoch: int) -> None:
        """From now on drop the progress of earlier claims of the step: ``epoch`` is the newest."""
        with translated():
            key = live.fence_key(self._prefix, entry.job_id)
            self._commands.eval(live.FENCE, 1, key, entry.step, epoch, self._ttl)

    def snapshot(self, job_id: str) -> Progress | None:
        """The latest progress of a job, or None; None also when Redis is away, for it is only a hint."""
        try:
            with translated():
                found = self._commands.get(live.snapshot_key(self._prefix, job_id))
            return msgspec.json.decode(found, type=Progress) if found else None
        except (BrokerUnavailable, msgspec.MsgspecError):
            return None

    def channel(self, job_id: str) -> str:
        """The channel that a job's messages come on."""
        return live.channel(self._prefix, job_id)

    def pubsub(self) -> Any:
        """A redis-py PubSub on a connection of its own, for the one subscriber of a web process."""
        return connect(self._url, timeout=20.0).pubsub(ignore_subscribe_messages=True)
