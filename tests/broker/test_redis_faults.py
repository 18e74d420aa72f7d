"""Redis is emptied, restarted, read-only, full, silent: every job moves all the same, each step is done once."""

import os
import signal
import threading
import time

import pytest
import redis

from downloader import embedded
from downloader.broker import GROUP, Broker
from downloader.config import Settings
from downloader.errors import BrokerUnavailable
from downloader.job import Options
from downloader.store import NewJob, Store
from downloader.vault import Vault
from stages import janitor as janitor_module
from stages import source, worker
from stages.beats import Beats
from stages.contract import StepResult
from stages.identity import Worker
from stages.janitor import Janitor
from stages.pulse import Pulse
from stages.runner import Parts, Runner
from stages.source import Source
from tests.stages.conftest import FakeClock
from tests.stages.driving import PLAN
from tests.waiting import until

SLOTS = 2
JOBS = 4


class Resolving:
    """A stage that is done at once, and counts."""

    def __init__(self):
        self.done = []

    def run(self, step):
        self.done.append(step.job.id)
        return StepResult(outputs=PLAN)

    def close(self):
        pass


class Yard:
    """The slots of one resolve process and a janitor, over a Valkey that a test may break."""

    def __init__(self, database_url, server, folder):
        self.server = server
        settings = Settings(
            data_dir=folder, database_url=database_url, storage_min_free_bytes=0, storage_min_free_percent=0
        )
        self.raw = redis.Redis.from_url(server.url, decode_responses=True)
        self.prefix = folder.name
        self.store = Store(database_url)
        self.broker = Broker(server.url, self.prefix)
        clock, self.stop, self.stage = FakeClock(), threading.Event(), Resolving()
        parts = Parts(
            settings=settings,
            store=self.store,
            broker=self.broker,
            vault=Vault.from_settings(settings),
            clock=clock,
            stop=self.stop,
        )
        who = Worker("resolve", "w", SLOTS)
        runner = Runner(self.stage, parts, Beats(self.store, settings, clock, who))
        entries = Source(self.store, self.broker, "resolve", self.stop, clock)
        pulse = Pulse(self.store, settings, clock, Worker("janitor", "j", 1))
        janitor = Janitor(settings, store=self.store, broker=self.broker, pulse=pulse)
        targets = [lambda n=n: worker._slot(runner, entries, who.slot(n), self.stop) for n in range(SLOTS)]
        self.threads = [threading.Thread(target=target) for target in (*targets, lambda: self._tick(janitor))]

    def _tick(self, janitor):
        while not self.stop.wait(0.05):
            janitor.run_once()

    def start(self):
        for thread in self.threads:
            thread.start()

    def end(self):
        self.stop.set()
        kill_clients(self)  # so that no reader waits its time out
        for thread in self.threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in self.threads)
        self.store.close()
        self.broker.close()
        self.raw.close()

    def key(self):
        return self.broker.key("resolve")

    def blocked(self):
        """How many readers wait on the server."""
        return int(self.raw.info("clients")["blocked_clients"])

    def post(self, count=JOBS):
        """Jobs, posted as web does it."""
        posted = [self.store.post(NewJob("https://e.test/v", Options(), f"{n}"), limit=99) for n in range(count)]
        for one in posted:
            try:
                self.broker.add(one.ready)
            except BrokerUnavailable:
                continue
        return {one.id for one in posted}

    def resolved(self):
        sql = "SELECT job_id FROM downloader_steps WHERE name = 'resolve' AND state = 'done'"
        return {row["job_id"] for row in self.store.db.rows(sql)}

    def all_done_once(self, jobs):
        until(lambda: self.resolved() == jobs, 20)
        rows = self.store.db.rows(
            "SELECT DISTINCT attempts, crashes, retries FROM downloader_steps WHERE state = 'done'"
        )
        assert [tuple(row.values()) for row in rows] == [(1, 0, 0)]
        assert sorted(self.stage.done) == sorted(jobs)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = embedded.Valkey(tmp_path_factory.mktemp("valkey"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def yard(database_url, server, tmp_path, monkeypatch):
    monkeypatch.setattr(janitor_module, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(source, "OVERDUE_SECONDS", 0.5)
    made = Yard(database_url, server, tmp_path)
    yield made
    made.end()


def flush(yard):
    yard.raw.flushall()


def drop_stream(yard):
    yard.raw.delete(yard.key())


def drop_group(yard):
    yard.raw.xgroup_destroy(yard.key(), GROUP)


def restart(yard):
    yard.server.stop()
    yard.server.start()


def kill_clients(yard):
    yard.raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


@pytest.mark.parametrize("fault", [flush, drop_stream, drop_group, restart, kill_clients], ids=lambda f: f.__name__)
def test_while_readers_block(yard, fault):
    yard.start()
    until(lambda: yard.blocked() == SLOTS)
    fault(yard)
    jobs = yard.post()
    yard.all_done_once(jobs)
    until(lambda: yard.blocked() == SLOTS, 10)


@pytest.mark.parametrize("fault", [flush, drop_stream, drop_group, restart], ids=lambda f: f.__name__)
def test_while_entries_wait(yard, fault):
    jobs = yard.post()
    fault(yard)
    yard.start()
    yard.all_done_once(jobs)


def test_entries_trimmed_while_they_are_pending(yard):
    jobs = yard.post()
    yard.broker.read("resolve", "dead/0", block=0.01)  # makes the group
    read = [yard.broker.read("resolve", "dead/0", block=0.01) for _ in jobs]
    assert {one.entry.job_id for one in read} == jobs
    yard.raw.xtrim(yard.key(), maxlen=0, approximate=False)
    yard.start()
    yard.all_done_once(jobs)


def test_every_entry_three_times(yard):
    jobs = yard.post()
    entries = list(yard.broker.entries("resolve"))
    yard.broker.add(entries * 2)
    yard.start()
    yard.all_done_once(jobs)
    until(lambda: yard.broker.entries("resolve") == set())


def read_only(yard):
    yard.raw.execute_command("REPLICAOF", "127.0.0.1", "1")
    return lambda: yard.raw.execute_command("REPLICAOF", "NO", "ONE")


def full(yard):
    yard.raw.config_set("maxmemory", "1")
    return lambda: yard.raw.config_set("maxmemory", "0")


def silent(yard):
    """Connections stand and nobody answers: what a half-open TCP connection looks like from here."""
    pid = yard.server.server_pid()
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("fault", [read_only, full, silent], ids=lambda f: f.__name__)
def test_jobs_move_while_it_lasts_and_after(yard, fault):
    yard.start()
    until(lambda: yard.blocked() == SLOTS)
    cure = fault(yard)
    try:
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            yard.broker.add(yard.store.post(NewJob("https://e.test/v", Options(), "first"), limit=99).ready)
        assert time.monotonic() - began < 5, "no hidden retries"
        until(lambda: len(yard.resolved()) == 1, 20)
    finally:
        cure()
    yard.all_done_once(yard.post() | {row["id"] for row in yard.store.db.rows("SELECT id FROM downloader_jobs")})
    until(lambda: yard.blocked() == SLOTS, 20)
