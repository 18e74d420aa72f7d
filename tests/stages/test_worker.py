"""A stage process hears that it is to end, whichever way and whichever of its threads is told."""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from downloader.embedded import Servers
from downloader.route import ROUTE
from downloader.store import Store, migrate
from tests.store.conftest import new
from tests.waiting import ended, until

SYS_TGKILL = {"x86_64": 234, "aarch64": 131}


@pytest.fixture
def start(database_url, redis_url, redis_prefix, tmp_path):
    started = []

    def run(*arguments, database_url=database_url, **kwargs):
        environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "REDIS_QUEUE_KEY": redis_prefix,
            "DATA_DIR": str(tmp_path),
        }
        argv = [sys.executable, "-m", "stages", "resolve", "--worker", "--slots", "1", *arguments]
        process = subprocess.Popen(argv, env=environment, cwd=Path(__file__).parents[2], **kwargs)
        started.append(process)
        until(lambda: len(threads(process.pid)) >= 4)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def threads(pid):
    """The ids of a process's threads, the main one first."""
    return sorted(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir())


def test_a_signal_that_the_kernel_gives_to_another_thread_is_heard(start):
    process = start()
    number = SYS_TGKILL[os.uname().machine]
    assert ctypes.CDLL(None).syscall(number, process.pid, threads(process.pid)[-1], signal.SIGTERM) == 0
    assert ended(process.pid, 10)
    assert process.wait() == 0


def test_the_end_of_the_lifeline_is_heard(start):
    reading, writing = os.pipe()
    process = start("--lifeline-fd", str(reading), pass_fds=(reading,))
    os.close(reading)
    os.close(writing)
    assert ended(process.pid, 10)
    assert process.wait() == 0


def test_the_dead_are_succeeded_as_soon_as_postgres_is_back(start, tmp_path):
    servers = Servers(tmp_path / "servers", with_valkey=False)
    servers.start()
    try:
        migrate(servers.database_url)
        store = Store(servers.database_url)
        (entry,) = store.post(new(), limit=10).ready
        store.claim(entry, "dead/0", 600, ROUTE["resolve"])
        store.close()
        servers.postgres.stop()
        start("--succeeds", "dead", database_url=servers.database_url)
        servers.postgres.start()
        store = Store(servers.database_url)
        until(lambda: store.outcome(entry).epoch == 2, 10)
        store.close()
    finally:
        servers.stop()
