"""What the figures of /metrics are read from: Postgres, the queues, Redis and the disk, all at the same time."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from downloader import disk, queues
from downloader.broker import Broker
from downloader.config import Settings
from downloader.disk import DiskSpace
from downloader.queues import Queues
from downloader.store import Census, Store
from web.together import in_thread, together

log = structlog.get_logger(__name__)

READ_SECONDS = 2.5


@dataclass(frozen=True, slots=True)
class Disk:
    """The volume of DATA_DIR, and how many bytes of it must stay free."""

    space: DiskSpace
    required: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What could be read; None is what could not. ``limit``: unfinished jobs that may be."""

    limit: int
    redis: bool = False
    census: Census | None = None
    queues: Queues | None = None
    disk: Disk | None = None

    @property
    def up(self) -> dict[str, bool]:
        """Which parts answered, by name."""
        postgres = self.census is not None and self.queues is not None
        return {"postgres": postgres, "redis": self.redis, "disk": self.disk is not None}


def read(store: Store, broker: Broker, settings: Settings) -> Reading:
    """Everything that answers within READ_SECONDS."""

    def pinged() -> bool:
        broker.ping()
        return True

    calls: dict[str, Callable[[], Any]] = {
        "census": store.census,
        "queues": lambda: queues.read(store),
        "redis": pinged,
        "disk": lambda: in_thread(lambda: _disk(settings)),
    }
    found = together({name: partial(_attempt, name, call) for name, call in calls.items()}, READ_SECONDS)
    return Reading(
        limit=settings.max_queue_size + settings.max_concurrent_workers,
        redis=bool(found.get("redis")),
        census=found.get("census"),
        queues=found.get("queues"),
        disk=found.get("disk"),
    )


def _disk(settings: Settings) -> Disk:
    space = disk.free(settings.data_dir)
    return Disk(space, disk.minimum(settings, space))


def _attempt(name: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - whatever a part does, the figures of the others must come
        log.warning("a figure cannot be read", part=name, reason=f"{type(error).__name__}: {error}")
        return None
