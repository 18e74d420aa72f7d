"""Fixtures of the fetch tests: an origin, settings that let loopback be reached, and a job to fetch for."""

import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from downloader.config import Settings
from downloader.fetch.engine import Engine
from downloader.fetch.limits import Limits
from downloader.fetch.task import Task
from downloader.handoff import Fetched, Track
from tests.origin import Origin

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
# As patient as tests can afford; everything else is as in production.
QUICK = Limits(
    connect=2.0,
    first_byte=1.0,
    low_speed_time=1,
    sabr_stall=2,
    backoff=0.02,
    backoff_cap=0.1,
    retry_after_cap=0.3,
    tick=0.02,
)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as server:
        yield server


def settings_for(tmp_path: Path, **options: Any) -> Settings:
    return Settings(
        **{"data_dir": tmp_path, "media_allow_networks": LOOPBACK, "typetype_api_base": "http://127.0.0.1:1"} | options
    )


class Bench:
    """One engine and a job's folder; ``fetch`` runs a job."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path
        self.options: dict[str, Any] = {}
        self.limits = QUICK
        self.resolve: tuple[str, ...] = ()
        self.epoch = 1
        self.progress: list[tuple[int, int]] = []

    @property
    def work(self) -> Path:
        return self.path / "jobs" / "j1"

    def task(self, **options: Any) -> Task:
        defaults: dict[str, Any] = {
            "work": self.work,
            "epoch": self.epoch,
            "check": lambda: None,
            "deadline": time.monotonic() + 25,
            "progress": lambda done, total: self.progress.append((done, total)),
        }
        return Task(**(defaults | options))

    def fetch(self, *tracks: Track, **options: Any) -> Fetched:
        engine = Engine(settings_for(self.path, **self.options), self.limits, resolve=self.resolve)
        try:
            return engine.fetch(tracks, self.task(**options))
        finally:
            engine.close()

    def bytes_of(self, fetched: Fetched, key: str = "video") -> bytes:
        (found,) = [track for track in fetched.tracks if track.track.key == key]
        data = (self.work / found.path).read_bytes()
        assert len(data) == found.size
        return data

    def left(self) -> list[str]:
        """What is left on disk of the tracks."""
        return sorted(path.name for path in self.work.rglob("*") if path.is_file())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def video(url: str, size: int | None = None, **options: Any) -> Track:
    return Track(**{"key": "video", "kind": "video", "transport": "ranges", "url": url, "size": size} | options)


def in_thread(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run ``call`` beside the test; its result or its error ends up in the list."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(call())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, found
