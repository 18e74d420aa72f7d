"""One subscriber per process: what stages publish on Redis, fanned out to all the clients that watch.

Two greenlets serve any number of watchers. One reads Redis, subscribed to the jobs that are being watched; the other
reads rows that changed, and every POLL_SECONDS all watched rows, so that streams stay right without Redis.
"""

import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import gevent
import msgspec
import structlog
from gevent.event import Event
from redis.exceptions import RedisError

from downloader.broker.live import Message
from downloader.errors import StoreUnavailable
from downloader.job import Job, Progress
from downloader.states import Status

log = structlog.get_logger(__name__)

POLL_SECONDS = 2.0
_PING_SECONDS = 10.0
_DEAF_SECONDS = 25.0
_BACKOFF_SECONDS = (0.1, 5.0)
# A subscription that is always there: a PubSub without any cannot be read from.
_NOBODY = "-"


class Rows(Protocol):
    """Where rows are read: the store."""

    def jobs(self, job_ids: list[str], /) -> dict[str, Job]:
        """Those of the jobs that exist."""


class Channels(Protocol):
    """Where messages come from: the broker."""

    def channel(self, job_id: str, /) -> str:
        """The channel of a job."""

    def pubsub(self) -> Any:
        """A redis-py PubSub."""

    def snapshot(self, job_id: str, /) -> Progress | None:
        """The latest progress of a job."""


@dataclass(slots=True)
class _Topic:
    """A watched job: its newest state, a version that rises with each change, and who watches."""

    job: Job | None = None
    live: Progress | None = None
    version: int = 0
    gone: bool = False
    watchers: "set[Watcher]" = field(default_factory=set)

    def take_row(self, job: Job | None) -> None:
        """Note the row as it was just read; None when it is not there any more."""
        if job is None:
            self.gone = self.job is not None
        elif job == self.job or _older(job, self.job):
            return
        self.job = job or self.job
        self.changed()

    def take_progress(self, live: Progress) -> None:
        """Note live progress; None of it matters once the job has ended."""
        if live != self.live and not (self.job and self.job.ended):
            self.live = live
            self.changed()

    def changed(self) -> None:
        self.version += 1
        for watcher in self.watchers:
            watcher.wake()


class Watcher:
    """One client's view of one job: only the newest state is kept, however slowly the client reads."""

    def __init__(self, topic: _Topic, leave: "Callable[[Watcher], None]") -> None:
        self._topic = topic
        self._leave = leave
        self._seen = 0
        self._news = Event()
        self.over = False

    def next(self, timeout: float) -> tuple[Job, Progress | None] | None:
        """The newest state that was not returned yet, or None after ``timeout`` seconds or when ``over``."""
        if not self.over and self._seen == self._topic.version:
            self._news.wait(timeout)
        self._news.clear()
        topic = self._topic
        self.over = self.over or topic.gone
        if self.over or topic.job is None or self._seen == topic.version:
            return None
        self._seen = topic.version
        return topic.job, topic.live

    def offer(self, job: Job, live: Progress | None) -> None:
        """Tell the hub a state that was just read."""
        # In this order: progress is not taken after the end, and here it is from before.
        if live is not None:
            self._topic.take_progress(live)
        self._topic.take_row(job)

    def wake(self) -> None:
        """Let ``next`` return."""
        self._news.set()

    def end(self) -> None:
        """Let ``next`` return None from now on."""
        self.over = True
        self._news.set()

    def close(self) -> None:
        """Free the place. The last one out ends the job's subscription."""
        self._leave(self)


class Hub:
    """Fans jobs' changes out to watchers. Its greenlets start with the first watcher."""

    def __init__(self, rows: Rows, channels: Channels) -> None:
        self._rows = rows
        self._channels = channels
        self._topics: dict[str, _Topic] = {}
        self._dirty: set[str] = set()
        self._stale = Event()
        self._pubsub: Any = None
        self._greenlets: list[gevent.Greenlet[[], None]] = []
        self._closed = False

    def watch(self, job_id: str) -> Watcher:
        """Begin to watch a job. Read its row after this, and offer it, so that no change falls between."""
        topic = self._topics.get(job_id)
        if topic is None:
            topic = self._topics[job_id] = _Topic()
            self._command("subscribe", job_id)
        watcher = Watcher(topic, lambda one: self._left(job_id, topic, one))
        topic.watchers.add(watcher)
        if self._closed:
            watcher.end()
        elif not self._greenlets:
            self._greenlets = [gevent.spawn(self._listen), gevent.spawn(self._refresh)]
        return watcher

    @property
    def watchers(self) -> int:
        """How many clients watch just now."""
        return sum(len(topic.watchers) for topic in self._topics.values())

    def close(self) -> None:
        """End all watchers and both greenlets."""
        self._closed = True
        for topic in list(self._topics.values()):
            for watcher in list(topic.watchers):
                watcher.end()
        gevent.killall(self._greenlets, timeout=1)

    def _left(self, job_id: str, topic: _Topic, watcher: Watcher) -> None:
        topic.watchers.discard(watcher)
        if not topic.watchers and self._topics.get(job_id) is topic:
            del self._topics[job_id]
            self._command("unsubscribe", job_id)

    def _command(self, name: str, job_id: str) -> None:
        """Subscribe or unsubscribe; a broken connection is for the reader to notice."""
        if self._pubsub is not None:
            with suppress(RedisError, OSError):
                getattr(self._pubsub, name)(self._channels.channel(job_id))

    def _listen(self) -> None:
        """Read Redis for good, on one connection after another."""
        least, most = _BACKOFF_SECONDS
        pause = least
        while True:
            started = time.monotonic()
            try:
                with closing(self._channels.pubsub()) as pubsub:
                    self._read(pubsub)
            except Exception as error:  # noqa: BLE001 - a subscriber that dies would leave all streams to polling
                log.warning("progress is polled: Redis cannot be read", reason=f"{type(error).__name__}: {error}")
            finally:
                self._pubsub = None
            pause = least if time.monotonic() - started > most else min(2 * pause, most)
            gevent.sleep(pause)

    def _read(self, pubsub: Any) -> None:
        pubsub.subscribe(self._channels.channel(_NOBODY))
        # From here on new topics subscribe themselves; one that does so twice does no harm.
        self._pubsub = pubsub
        for job_id in list(self._topics):
            pubsub.subscribe(self._channels.channel(job_id))
        self._catch_up()
        prefix = self._channels.channel("")
        heard = pinged = time.monotonic()
        while True:
            message = pubsub.get_message(timeout=_PING_SECONDS)
            now = time.monotonic()
            if message is not None:
                heard = now
                if message["type"] == "message":
                    self._message(str(message["channel"]).removeprefix(prefix), message["data"])
            elif now - heard > _DEAF_SECONDS:
                raise TimeoutError
            if now - pinged > _PING_SECONDS:
                pubsub.ping()
                pinged = now

    def _catch_up(self) -> None:
        """Find out what was said while nobody listened."""
        self._mark(*self._topics)
        for job_id, topic in list(self._topics.items()):
            if live := self._channels.snapshot(job_id):
                topic.take_progress(live)

    def _message(self, job_id: str, text: str) -> None:
        topic = self._topics.get(job_id)
        if topic is None:
            return
        try:
            message = msgspec.json.decode(text, type=Message)
        except msgspec.MsgspecError:
            # "changed" carries an empty object instead of progress.
            self._mark(job_id)
            return
        if message.type != "progress" or message.data is None:
            self._mark(job_id)
            return
        topic.take_progress(message.data)
        if topic.job is None or topic.job.status is Status.QUEUED:
            self._mark(job_id)

    def _mark(self, *job_ids: str) -> None:
        """Have these rows read again at once."""
        self._dirty.update(job_ids)
        self._stale.set()

    def _refresh(self) -> None:
        """Read rows for good: those that changed at once, all of them every POLL_SECONDS."""
        due = time.monotonic() + POLL_SECONDS
        while True:
            self._stale.wait(max(0.0, due - time.monotonic()))
            self._stale.clear()
            wanted, self._dirty = self._dirty & self._topics.keys(), set()
            if time.monotonic() >= due:
                due = time.monotonic() + POLL_SECONDS
                wanted = set(self._topics)
            if not wanted:
                continue
            try:
                found = self._rows.jobs(sorted(wanted))
            except StoreUnavailable as error:
                log.warning("watched jobs cannot be read", reason=error.message)
                continue
            for job_id in wanted:
                if topic := self._topics.get(job_id):
                    topic.take_row(found.get(job_id))


def _older(job: Job, than: Job | None) -> bool:
    """Whether ``job`` was read before ``than`` was: two readers may overtake each other."""
    return bool(than and job.updated_at and than.updated_at and job.updated_at < than.updated_at)
