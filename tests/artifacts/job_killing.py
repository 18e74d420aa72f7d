"""Publish processes of a whole service killed inside their uploads: ``python -m tests.artifacts.job_killing [KILLS]``.

Jobs of 20 MB (three parts) are posted and published by three processes, through a proxy in front of a real S3 server.
The proxy kills the publisher whose request has just come, or is under way, or has just been answered, until as many
kills as were asked for have hit an upload. Then every job must have ended, every artifact must be whole, and a sweep
must leave nothing that belongs to none.
"""

import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import urllib3

from downloader.artifacts import open_store
from downloader.artifacts.s3_client import connect
from downloader.clock import SystemClock
from downloader.config import load
from downloader.store import Store
from downloader.sweep import Removed, Sweep
from tests.artifacts import digests
from tests.artifacts.faults import Fault, FaultProxy, serving
from tests.chaos.clients import packets
from tests.chaos.faults import descendants, worker_id
from tests.service import Service, StandIn
from tests.swift.server import Swift, running

PUBLISHERS = 5
UNDER_WAY = 6  # jobs at once
GROWN_SECONDS = 2.2  # the supervisor lets those that die younger wait before they are started again
LONGEST = 0.15  # seconds from a request's arrival: most have been answered by then
CHANCE = 0.3  # of a request to bring a kill
MOMENTS = ("create", "part", "complete")


@dataclass
class Report:
    """What came of it: jobs by how they ended, kills by the operation they hit, what a sweep found to remove."""

    kills: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    swept: Removed = field(default_factory=Removed)

    def text(self) -> str:
        hits = ", ".join(f"{number} at {name}" for name, number in sorted(self.kills.items()))
        ends = ", ".join(f"{number} {name}" for name, number in sorted(self.ends.items()))
        return (
            f"{self.kills.total()} kills inside uploads ({hits})\n"
            f"{self.ends.total()} jobs: {ends}; every artifact of a done one whole\n"
            f"a sweep removed {self.swept.parts} unfinished uploads and objects of {self.swept.orphans} jobs"
            f" ({self.swept.bytes_freed} bytes), and left nothing"
        )


class Tomorrow(SystemClock):
    """By this clock every unfinished upload is old enough to be swept."""

    def now(self) -> datetime:
        return super().now() + timedelta(hours=25)


class KillingProxy(FaultProxy):
    """Kills publishers in the middle of uploads until ``kills`` have been made; none before ``service`` is set."""

    def __init__(self, upstream: str, kills: int) -> None:
        super().__init__(upstream)
        self.service: Service | None = None
        self.report = Report()
        self._left = kills
        self._choose = threading.Lock()

    @property
    def over(self) -> bool:
        return self._left <= 0

    def take(self, name: str, headers: Any) -> Fault | None:
        """As each request comes: perhaps its sender dies, now or a moment later."""
        if self.service and name in MOMENTS and random.random() < CHANCE:
            threading.Timer(random.uniform(0, LONGEST), self._kill, [name]).start()
        return super().take(name, headers)

    def _kill(self, name: str) -> None:
        with self._choose:
            publishers = self._uploading()
            if self.over or not publishers:
                return
            with suppress(ProcessLookupError):
                os.kill(random.choice(publishers), signal.SIGKILL)
                self._left -= 1
                self.report.kills[name] += 1

    def _uploading(self) -> list[int]:
        """The publishers that hold a step now: a kill of any other proves nothing."""
        assert self.service is not None
        rows = self.service.rows("SELECT worker FROM downloader_steps WHERE state = 'running' AND name = 'publish'")
        busy = {row["worker"].rpartition("/")[0] for row in rows}
        pools = [process.pid for process in self.service.processes]
        found = [pid for pool in pools for pid in descendants(pool) if worker_id(pid) in busy]
        return [pid for pid in found if age(pid) > GROWN_SECONDS]


def age(pid: int) -> float:
    """Seconds since process ``pid`` was started; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except FileNotFoundError:
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def run(folder: Path, server: Swift, kills: int, seconds: float = 1500.0) -> Report:
    """Kill so many publishers and judge what is left; raises AssertionError where it is not as it should be."""
    with ExitStack() as stack:
        standin = StandIn(folder / "media", module="tests.chaos.host")
        stack.callback(standin.close)
        proxy = KillingProxy(server.endpoint, kills)
        stack.enter_context(serving(proxy))
        variables = {
            "STORAGE_BACKEND": "s3",
            "S3_ENDPOINT": proxy.endpoint,
            "S3_USE_SSL": "false",
            "S3_REGION": server.region,
            "S3_BUCKET": server.bucket,
            "S3_ACCESS_KEY": server.access_key,
            "S3_SECRET_KEY": server.secret_key,
            "MAX_CONCURRENT_WORKERS": "4",
        }
        more = ("stages", "publish", "--processes", str(PUBLISHERS), "--slots", "1")
        roles = (("stages", "up"), more)
        service = Service(folder / "service", base=standin.base, variables=variables, roles=roles)
        stack.enter_context(service)
        # Undisturbed: what the others are compared with, and the one time that its media are made.
        first = service.ended(service.post(standin.source("stout")), 240)
        proxy.service = service
        jobs = {first["id"]: first} | _play(service, standin, proxy, time.monotonic() + seconds)
        _judge(service, jobs, proxy.report)
        proxy.report.swept = _sweep(service.environment, jobs)
        return proxy.report


def _play(service: Service, standin: StandIn, proxy: KillingProxy, deadline: float) -> dict[str, dict[str, Any]]:
    """Jobs, some at once, until the last kill, as they have ended."""
    ended: dict[str, dict[str, Any]] = {}
    waiting: set[str] = set()
    posted = 0
    while not proxy.over or waiting:
        assert time.monotonic() < deadline, f"{len(waiting)} jobs have not ended; {proxy.report.text()}"
        while len(waiting) < UNDER_WAY and not proxy.over:
            waiting.add(service.post(standin.source("stout", n=posted)))
            posted += 1
        for job_id in list(waiting):
            job = service.job(job_id)
            if job["status"] in ("done", "failed"):
                ended[job_id] = job
                waiting.discard(job_id)
        time.sleep(0.05)
    return ended


def _judge(service: Service, jobs: Mapping[str, dict[str, Any]], report: Report) -> None:
    """Each job is done, with every packet of the undisturbed one, or was given up after its third crash."""
    whole = ""
    with urllib3.PoolManager() as pool:
        for job_id, job in jobs.items():
            if job["status"] == "failed":
                assert job["errorCode"] == "poisoned", job
                report.ends["given up after three crashes"] += 1
                continue
            redirect = service.request("GET", f"/jobs/{job_id}/artifact", redirect=False)
            answer = pool.request("GET", redirect.headers["Location"])
            assert answer.status == 200
            assert digests.of(answer.data) == answer.headers["x-amz-meta-sha256-blocks"]
            whole = whole or packets(answer.data)
            assert packets(answer.data) == whole, f"the file of {job_id} differs from the others"
            report.ends["done"] += 1


def _sweep(environment: Mapping[str, str], jobs: Mapping[str, dict[str, Any]]) -> Removed:
    """What a sweep removes; afterwards only objects of done jobs stand, no upload is unfinished, no work is left."""
    settings = load(environment)
    store, files = Store(settings.database_location, max_connections=1), open_store(settings)
    client = connect(settings, f"http://{settings.s3_endpoint}")
    try:
        today = Sweep(settings, store, files, SystemClock()).everything()
        assert today.parts == 0, "an upload of today may be another's"
        swept = today + Sweep(settings, store, files, Tomorrow()).everything()
        bucket = settings.s3_bucket
        assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="artifacts/")
        found = [item["Key"].split("/")[1] for page in pages for item in page.get("Contents", ())]
        assert set(found) == {job_id for job_id, job in jobs.items() if job["status"] == "done"}
        assert list(settings.jobs_dir.iterdir()) == []
    finally:
        client.close()
        files.close()
        store.close()
    return swept


def main(kills: int) -> None:
    """Kill so many uploads and print what was left of them."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder, "swift")) as server:
        print(run(Path(folder), server, kills).text())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
