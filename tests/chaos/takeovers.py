"""How long stricken steps took to run again: one connection that asks for all of them many times a second."""

import statistics
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from downloader.errors import StoreUnavailable
from downloader.store import Database

LOOK_SECONDS = 0.02
GIVE_UP_SECONDS = 90.0

_HELD = """
SELECT job_id, name, epoch FROM downloader_steps
 WHERE state = 'running' AND split_part(worker, '/', 1) = ANY(%(workers)s)
"""
_NOW = """
SELECT h.job_id, h.name, h.epoch, s.epoch > h.epoch AS again, extract(epoch FROM s.started_at)::float8 AS started,
       coalesce(s.epoch = h.epoch AND s.state IN ('ready', 'running'), false) AS waits
  FROM unnest(%(job_ids)s::text[], %(names)s::text[], %(epochs)s::int[]) AS h (job_id, name, epoch)
  LEFT JOIN downloader_steps s ON s.job_id = h.job_id AND s.name = h.name
"""

Claim = tuple[str, str, int]


@dataclass
class Times:
    """Seconds from the strike to the new claim, by kind of strike; ``unseen`` claims whose job ended instead."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    unseen: int = 0
    given_up: list[str] = field(default_factory=list)

    def lines(self) -> list[tuple[str, str]]:
        """Each kind and its figures."""
        return [(kind, figures(found)) for kind, found in sorted(self.seconds.items())]


def figures(seconds: list[float]) -> str:
    """p50, p99 and the longest of ``seconds``."""
    if not seconds:
        return "no steps"
    return f"{len(seconds)} steps, p50 {rank(seconds, 0.5):.2f} s, p99 {rank(seconds, 0.99):.2f} s, longest {max(seconds):.2f} s"


def rank(seconds: list[float], share: float) -> float:
    """The value that ``share`` of ``seconds`` do not exceed; the median where that is asked for."""
    if share == 0.5:
        return statistics.median(seconds)
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Takeovers:
    """Watches claims from the moment they were stricken. ``with`` runs it on a thread."""

    def __init__(self, dsn: str) -> None:
        self._database = Database(dsn, size=2)
        self._watched: dict[Claim, tuple[str, float]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.times = Times()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._database.close()

    def held(self, workers: Iterable[str]) -> list[Claim]:
        """What these workers run now; nothing while Postgres is away."""
        with suppress(StoreUnavailable):
            rows = self._database.rows(_HELD, {"workers": list(workers)})
            return [(row["job_id"], row["name"], row["epoch"]) for row in rows]
        return []

    def watch(self, kind: str, claims: Iterable[Claim]) -> None:
        """From now on: how long until each runs again."""
        struck = time.time()
        with self._lock:
            for claim in claims:
                self._watched.setdefault(claim, (kind, struck))

    def settled(self, seconds: float = GIVE_UP_SECONDS) -> bool:
        """Wait until nothing is watched any more."""
        deadline = time.monotonic() + seconds
        while self._watched and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        return not self._watched

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            with self._lock:
                watched = list(self._watched)
            if watched:
                with suppress(StoreUnavailable):
                    self._look(watched)

    def _look(self, watched: list[Claim]) -> None:
        names = ("job_ids", "names", "epochs")
        values = dict(zip(names, map(list, zip(*watched, strict=True)), strict=True))
        for row in self._database.rows(_NOW, values):
            claim = (row["job_id"], row["name"], row["epoch"])
            kind, struck = self._watched[claim]
            if row["again"]:
                # Both by this machine's clock. A step may have been taken over already when the strike was noted.
                self.times.seconds.setdefault(kind, []).append(max(0.0, row["started"] - struck))
            elif row["waits"] and time.time() - struck < GIVE_UP_SECONDS:
                continue
            elif row["waits"]:
                self.times.given_up.append(f"{claim[1]} of job {claim[0]} after: {kind}")
            else:
                self.times.unseen += 1
            with self._lock:
                del self._watched[claim]
