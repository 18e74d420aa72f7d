"""Real Postgres and Valkey around a runner whose stage is a plain function."""

import threading
from dataclasses import dataclass

import pytest

from downloader.broker import Broker
from downloader.clock import SystemClock
from downloader.config import Settings
from downloader.job import Options
from downloader.store import NewJob, Store
from downloader.vault import Vault
from stages.beats import Beats
from stages.contract import StepResult
from stages.identity import Worker
from stages.runner import Parts, Runner
from tests.stages.driving import PLAN


class FakeClock(SystemClock):
    """A clock whose monotonic time moves when it is told to; sleeping moves it too."""

    def __init__(self):
        self.offset = 0.0

    def monotonic(self):
        return super().monotonic() + self.offset

    def sleep(self, seconds):
        self.offset += seconds


class FunctionStage:
    """A stage that does what a function says."""

    def __init__(self, function):
        self.function = function

    def run(self, step):
        return self.function(step) or StepResult(outputs=PLAN)

    def close(self):
        pass


@dataclass
class House:
    """One stage process without its threads."""

    settings: Settings
    store: Store
    broker: Broker
    clock: FakeClock
    stop: threading.Event
    reached: list

    def post(self, key="k", **kwargs):
        posted = self.store.post(NewJob("https://e.test/v", Options(), key, **kwargs), limit=1000)
        self.broker.add(posted.ready)
        return posted.id

    def beats(self, worker="w"):
        return Beats(self.store, self.settings, self.clock, Worker("resolve", worker, 1))

    def runner(self, function=lambda _step: None, beats=None, boundary=None):
        parts = Parts(
            settings=self.settings,
            store=self.store,
            broker=self.broker,
            vault=Vault.from_settings(self.settings),
            clock=self.clock,
            stop=self.stop,
            boundary=boundary or (lambda name, _claim: self.reached.append(name)),
        )
        return Runner(FunctionStage(function), parts, beats or self.beats())

    def deliver(self, stage="resolve", consumer="w/0"):
        return self.broker.read(stage, consumer, block=0.01) or self.broker.read(stage, consumer, block=0.01)

    def step(self, job_id, name="resolve"):
        return self.store.db.rows(
            "SELECT *, extract(epoch FROM ready_at - now()) AS pause FROM downloader_steps"
            " WHERE job_id = %(id)s AND name = %(name)s",
            {"id": job_id, "name": name},
        )[0]


@pytest.fixture
def house(database_url, redis_url, redis_prefix, tmp_path):
    settings = Settings(
        data_dir=tmp_path,
        database_url=database_url,
        redis_url=redis_url,
        redis_queue_key=redis_prefix,
        storage_min_free_bytes=0,
        storage_min_free_percent=0,
    )
    store, broker = Store(database_url), Broker(redis_url, redis_prefix)
    yield House(settings, store, broker, FakeClock(), threading.Event(), [])
    store.close()
    broker.close()
