"""What is done to the service while it works: a seeded schedule of kills, freezes, losses and cuts."""

import os
import random
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
import redis

from downloader.embedded import Servers
from tests.service import Service
from tests.waiting import until

FREEZE_SECONDS = 5.0


@dataclass
class Tally:
    """What happened, and how long the stricken steps took to run again (seconds), by kind of fault."""

    counts: dict[str, int] = field(default_factory=dict)
    recoveries: dict[str, list[float]] = field(default_factory=dict)

    def count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1


class Faults:
    """Strikes ``service`` and ``servers`` by a schedule that ``seed`` fixes."""

    def __init__(self, service: Service, servers: Servers, seed: int, plan: dict[str, int], seconds: float) -> None:
        self._service = service
        self._servers = servers
        self._random = random.Random(seed)
        self._watchers: list[threading.Thread] = []
        self.tally = Tally()
        kinds = [kind for kind, times in plan.items() for _ in range(times)]
        self._random.shuffle(kinds)
        self.schedule = sorted(zip((self._random.uniform(0, seconds) for _ in kinds), kinds, strict=True))

    def run(self, stop: threading.Event) -> None:
        """Strike until the schedule is over or ``stop`` is set."""
        started = time.monotonic()
        for due, kind in self.schedule:
            if stop.wait(max(0.0, started + due - time.monotonic())):
                break
            with suppress(ProcessLookupError, psycopg2.Error, redis.RedisError):
                getattr(self, f"_{kind}")()
                self.tally.count(kind)
        for watcher in self._watchers:
            watcher.join(60)

    def _kill(self) -> None:
        """SIGKILL to any process but the outermost supervisor, which has a fault of its own."""
        pid = self._random.choice(until(self._children))
        held = self._held_by(pid)
        os.kill(pid, signal.SIGKILL)
        self._watch("child killed", held)

    def _kill_supervisor(self) -> None:
        """SIGKILL to the supervisor; as a container runtime would, another is started."""
        supervisor = self._service.processes[-1]
        held = [row for pid in self._children() for row in self._held_by(pid)]
        children = self._children()
        supervisor.kill()
        supervisor.wait()
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._service.start("stages", "up")
        self._watch("everything killed", held)

    def _freeze(self) -> None:
        """SIGSTOP past the lease, then SIGCONT."""
        pid = self._random.choice(until(lambda: [pid for pid in self._children() if worker_id(pid)]))
        os.kill(pid, signal.SIGSTOP)

        def wake() -> None:
            time.sleep(FREEZE_SECONDS)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

        self._watchers.append(threading.Thread(target=wake))
        self._watchers[-1].start()

    def _flush(self) -> None:
        with redis.Redis.from_url(self._servers.redis_url) as client:
            client.flushall()

    def _restart_valkey(self) -> None:
        self._servers.restart_valkey()

    def _restart_postgres(self) -> None:
        self._servers.restart_postgres()

    def _cut(self) -> None:
        """Every connection to Postgres and Redis ends at once."""
        with redis.Redis.from_url(self._servers.redis_url) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        connection = psycopg2.connect(self._servers.database_url)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        connection.close()

    def _children(self) -> list[int]:
        return descendants(self._service.processes[-1].pid)

    def _held_by(self, pid: int) -> list[tuple[str, str, int]]:
        """The claims of a worker process, by its identity on the command line."""
        worker = worker_id(pid)
        if not worker:
            return []
        rows = self._service.rows(
            "SELECT job_id, name, epoch FROM downloader_steps WHERE state = 'running' AND starts_with(worker, %(w)s)",
            {"w": f"{worker}/"},
        )
        return [(row["job_id"], row["name"], row["epoch"]) for row in rows]

    def _watch(self, kind: str, held: list[tuple[str, str, int]]) -> None:
        """Note how long it takes until each of these claims has been taken over (or its job has ended)."""
        struck = time.monotonic()
        for claim in held:
            watcher = threading.Thread(target=self._await_takeover, args=(kind, claim, struck))
            watcher.start()
            self._watchers.append(watcher)

    def _await_takeover(self, kind: str, claim: tuple[str, str, int], struck: float) -> None:
        job_id, name, epoch = claim
        sql = "SELECT state, epoch FROM downloader_steps WHERE job_id = %(id)s AND name = %(name)s"
        while time.monotonic() - struck < 60:
            with suppress(Exception):
                rows = self._service.rows(sql, {"id": job_id, "name": name})
                if not rows or rows[0]["epoch"] > epoch or rows[0]["state"] not in ("running", "ready"):
                    self.tally.recoveries.setdefault(kind, []).append(time.monotonic() - struck)
                    return
            time.sleep(0.02)


def descendants(root: int) -> list[int]:
    """All processes below ``root``."""
    try:
        children = [int(pid) for pid in Path(f"/proc/{root}/task/{root}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return [pid for child in children for pid in (child, *descendants(child))]


def worker_id(pid: int) -> str:
    """A stage process's identity, empty for other processes."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except FileNotFoundError:
        return ""
    return arguments[arguments.index("--worker-id") + 1] if "--worker-id" in arguments else ""
