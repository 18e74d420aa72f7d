"""What is done to the service while it works: a seeded schedule of kills, freezes, losses and cuts."""

import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psycopg2
import redis

from tests.chaos.scene import LEASE_SECONDS, Scene
from tests.chaos.takeovers import Takeovers
from tests.waiting import until

FREEZE_SECONDS = LEASE_SECONDS + 2.0
_TRIES = 5

# How often what happens, beside sixty kills.
SHORT = {
    "kill": 60,
    "kill everything": 2,
    "kill supervisor": 2,
    "freeze": 6,
    "flush": 6,
    "restart valkey": 2,
    "crash valkey": 1,
    "restart postgres": 3,
    "crash postgres": 1,
    "cut": 4,
}


class Faults:
    """Strikes ``scene`` by a schedule that ``seed`` fixes: what, when, and which of the victims that are there."""

    def __init__(self, scene: Scene, seed: int, plan: dict[str, int], seconds: float) -> None:
        self._scene = scene
        self._random = random.Random(seed)
        self._wakers: list[threading.Thread] = []
        kinds = [kind for kind, times in plan.items() for _ in range(times)]
        self._random.shuffle(kinds)
        self.schedule = sorted(zip((self._random.uniform(0, seconds) for _ in kinds), kinds, strict=True))
        self.seconds = seconds
        self.counts: Counter[str] = Counter()
        self.victims: Counter[str] = Counter()
        self.struck: dict[str, str] = {}
        self.takeovers = Takeovers(scene.servers.database_url)
        self.stop = threading.Event()

    def run(self, *, endless: bool = False) -> None:
        """Strike until the schedule is over (again and again where ``endless``) or ``stop`` is set."""
        with self.takeovers:
            started = time.monotonic()
            while True:
                for due, kind in self.schedule:
                    if self.stop.wait(max(0.0, started + due - time.monotonic())):
                        break
                    self._strike(kind)
                started += self.seconds
                if not endless or self.stop.is_set():
                    break
            for waker in self._wakers:
                waker.join()
            self.takeovers.settled()

    def _strike(self, kind: str) -> None:
        """One fault; tried again when its victim was just away for another one."""
        for _ in range(_TRIES):
            try:
                getattr(self, "_" + kind.replace(" ", "_"))()
            except (ProcessLookupError, psycopg2.Error, redis.RedisError):
                time.sleep(0.2)
                continue
            self.counts[kind] += 1
            return

    def _kill(self) -> None:
        """SIGKILL to any process but the outermost supervisor, which has faults of its own."""
        pid = self._random.choice(until(self._children))
        name = role(pid)
        workers = self._mark([pid], "killed")
        # Of a muxer's child its own worker tells, at once; nobody takes anything over.
        held = self.takeovers.held(workers) if worker_id(pid) else []
        os.kill(pid, signal.SIGKILL)
        self.victims[name] += 1
        self.takeovers.watch("child killed", held)

    def _kill_everything(self) -> None:
        """SIGKILL to the supervisor and all below it, as when a machine dies; another is started."""
        supervisor, children = self._scene.service.processes[-1], self._children()
        held = self.takeovers.held(self._mark(children, "killed"))
        supervisor.kill()
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        supervisor.wait()
        # What it started in the very last moment ends by itself, as its lifeline has: it must not come with the new.
        self._scene.service.start("stages", "up")
        self.takeovers.watch("everything killed", held)

    def _kill_supervisor(self) -> None:
        """SIGKILL to the supervisor alone; its children see their lifelines end while another one is started."""
        supervisor = self._scene.service.processes[-1]
        self._mark(self._children(), "drained")
        supervisor.kill()
        supervisor.wait()
        self._scene.service.start("stages", "up")

    def _freeze(self) -> None:
        """SIGSTOP past the lease, then SIGCONT: to a process of a stage or to the janitor."""
        pid = self._random.choice(until(lambda: [pid for pid in self._children() if worker_id(pid)]))
        held = self.takeovers.held(self._mark([pid], "frozen"))
        name = role(pid)
        os.kill(pid, signal.SIGSTOP)
        self.victims[f"{name} (frozen)"] += 1
        self.takeovers.watch("child frozen", held)

        def wake() -> None:
            time.sleep(FREEZE_SECONDS)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

        self._wakers.append(threading.Thread(target=wake))
        self._wakers[-1].start()

    def _flush(self) -> None:
        with redis.Redis.from_url(self._scene.servers.redis_url) as client:
            client.flushall()

    def _restart_valkey(self) -> None:
        self._scene.servers.restart_valkey()

    def _crash_valkey(self) -> None:
        self._scene.servers.kill_valkey()

    def _restart_postgres(self) -> None:
        self._scene.servers.restart_postgres()

    def _crash_postgres(self) -> None:
        """SIGKILL to the postmaster and every process of it, as when its machine dies; its keeper starts it again."""
        server = self._scene.servers.postgres
        if server is None or (postmaster := server.server_pid()) is None:
            raise ProcessLookupError
        for pid in (postmaster, *descendants(postmaster)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _cut(self) -> None:
        """Every connection to Postgres and Redis ends at once."""
        with redis.Redis.from_url(self._scene.servers.redis_url) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        connection = psycopg2.connect(self._scene.servers.database_url)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        finally:
            connection.close()

    def _children(self) -> list[int]:
        return descendants(self._scene.service.processes[-1].pid)

    def _mark(self, pids: list[int], how: str) -> list[str]:
        """Remember that these workers were struck: the steps that they lose are explained by it."""
        workers = [worker for pid in pids if (worker := _worker_of(pid))]
        self.struck.update(dict.fromkeys(workers, how))
        return workers


def descendants(root: int) -> list[int]:
    """All processes below ``root``."""
    try:
        children = [int(pid) for pid in Path(f"/proc/{root}/task/{root}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid for child in children for pid in (child, *descendants(child))]


def worker_id(pid: int) -> str:
    """A stage process's identity, empty for other processes."""
    arguments = _arguments(pid)
    return arguments[arguments.index("--worker-id") + 1] if "--worker-id" in arguments else ""


def _worker_of(pid: int) -> str:
    """The identity of the stage process that ``pid`` is, or works for."""
    while pid > 1:
        if worker := worker_id(pid):
            return worker
        pid = _parent(pid)
    return ""


def role(pid: int) -> str:
    """What a process of the service is."""
    if worker := worker_id(pid):
        return worker.split(":")[1].rpartition("-")[0]
    arguments = _arguments(pid)
    if "-c" in arguments:
        return "muxer"
    if "web" in arguments:
        return "web worker" if "web" in _arguments(_parent(pid)) else "web arbiter"
    return "other"


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
