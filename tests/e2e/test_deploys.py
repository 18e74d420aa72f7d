"""SIGTERM to whatever works: others take over, little is fetched twice; old and new versions side by side."""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import urllib3

from downloader.job import Options
from downloader.route import ROUTE
from downloader.store import NewJob, Store
from tests.chaos.faults import descendants, worker_id
from tests.cli.running import environment, start
from tests.e2e.newer import route
from tests.e2e.paced import Paced
from tests.e2e.watching import events
from tests.service import Service
from tests.waiting import ended, until

SIZE = 2_548_377  # of the demo's picture
CHUNK, CONNECTIONS = 1 << 16, 2
DRAIN = 1.0
# What the drain may take besides: handing back, and the next look of whoever waits for it.
BESIDES = 10.0
VARIABLES = {
    "DRAIN_SECONDS": str(DRAIN),
    "DOWNLOAD_CHUNK_SIZE": str(CHUNK),
    "DOWNLOAD_WORKERS": str(CONNECTIONS),
    "WEB_WORKERS": "2",
}


@pytest.fixture
def host(tmp_path_factory):
    with Paced(tmp_path_factory.getbasetemp().parent / "media", rate=SIZE // 6 // CONNECTIONS) as made:
        yield made


class Reader(threading.Thread):
    """A client that opens the event stream again whenever it ends too early."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url = url
        self.told = []
        self.connects = 0

    def run(self):
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and not (self.told and self.told[-1]["status"] in ("done", "failed")):
            with suppress(urllib3.exceptions.HTTPError, AssertionError, OSError):
                self.connects += 1
                for event in events(self.url, 20):
                    self.told.append(event.data)


def again(url, method="GET", **arguments):
    """What a client gets that tries again while the service is away for a moment."""
    found = []

    def ask():
        with suppress(urllib3.exceptions.HTTPError), urllib3.PoolManager(retries=False, timeout=10) as pool:
            answer = pool.request(method, url, **arguments)
            found.append(answer)
            return answer.status < 500
        return False

    until(ask, 30)
    return found[-1]


def test_sigterm_to_each_process_while_it_works(tmp_path, host):
    with Service(tmp_path, base=host.base, variables=VARIABLES) as service:
        supervisor = service.processes[0].pid
        job_id = service.post(host.source("demo"))
        reader = Reader(f"{service.url}/jobs/{job_id}/events")
        reader.start()
        until(lambda: host.sent["demo.mp4"] > 4 * CHUNK)
        # All that are children of the supervisor; those of a child end with it.
        children = [pid for pid in descendants(supervisor) if parent(pid) == supervisor]
        fetches = [pid for pid in children if ":fetch-" in worker_id(pid)]
        assert len(children) >= 6
        others = [service.post(host.source("short", number)) for number in range(3)]
        for pid in children:
            os.kill(pid, signal.SIGTERM)
            assert ended(pid, DRAIN + BESIDES), "the drain ends within the grace time"
        until(lambda: len([pid for pid in descendants(supervisor) if parent(pid) == supervisor]) == len(children))
        for job in (job_id, *others):
            until(lambda job=job: again(f"{service.url}/jobs/{job}").json()["status"] in ("done", "failed"), 60)
        jobs = [again(f"{service.url}/jobs/{job}").json() for job in (job_id, *others)]
        steps = service.rows("SELECT * FROM downloader_steps WHERE job_id = %(id)s", {"id": job_id})
        crashes = service.rows("SELECT max(crashes) AS n FROM downloader_steps")[0]["n"]
        reader.join(20)
    assert [(job["status"], job.get("errorCode")) for job in jobs] == [("done", None)] * len(jobs)
    assert crashes == 0
    attempts = {row["name"]: row["attempts"] for row in steps}
    assert attempts["fetch"] == 1 + len(fetches), attempts
    # What was under way on each connection, and what idle ones took over from the slowest at the end.
    assert host.sent["demo.mp4"] - SIZE <= (len(fetches) + 1) * CONNECTIONS * CHUNK
    assert reader.told[-1]["status"] == "done"
    assert reader.connects > 1, "its web process was drained as well"
    percents = [state["progressPercent"] for state in reader.told]
    assert percents == sorted(percents)


def test_downloader_up_is_ended_and_started_again_in_the_middle(tmp_path, host):
    env = environment(tmp_path / "data", TYPETYPE_API_BASE=host.base, **VARIABLES)
    url = f"http://127.0.0.1:{env['HTTP_PORT']}"
    first = start(env)
    try:
        assert "listens on" in first.stdout.readline()
        job_id = again(f"{url}/jobs", "POST", json={"url": host.source("demo")}).json()["id"]
        until(lambda: host.sent["demo.mp4"] > 4 * CHUNK)
        first.terminate()
        began = time.monotonic()
        assert first.wait(30) == 0
        assert time.monotonic() - began < DRAIN + 2 * BESIDES
    finally:
        first.kill()
        first.communicate()
    moved = host.sent["demo.mp4"]
    assert moved < SIZE, "it was ended in the middle"
    second = start(env)
    try:
        assert "listens on" in second.stdout.readline()
        until(lambda: again(f"{url}/jobs/{job_id}").json()["status"] in ("done", "failed"), 60)
        job = again(f"{url}/jobs/{job_id}").json()
        artifact = again(f"{url}/jobs/{job_id}/artifact")
    finally:
        second.terminate()
        second.communicate(timeout=60)
    assert (job["status"], job.get("errorCode")) == ("done", None)
    assert artifact.status == 200
    assert host.sent["demo.mp4"] - SIZE <= 2 * CONNECTIONS * CHUNK, "it went on from what was on disk"


def test_a_step_that_is_unknown_here_is_left_for_a_newer_version(tmp_path, standin, monkeypatch):
    with Service(tmp_path, base=standin.base, variables={"LEASE_SECONDS": "3"}) as service:
        store = Store(service.database_url)
        newer = route()
        with monkeypatch.context() as patch:
            patch.setattr("downloader.store.jobs.steps_for", lambda _options: newer)
            job_id = store.post(NewJob(standin.source("short"), Options(), "newer"), limit=100).id
        store.close()

        def states():
            rows = service.rows("SELECT name, state FROM downloader_steps WHERE job_id = %(id)s", {"id": job_id})
            return {row["name"]: row["state"] for row in rows}

        before = {**dict.fromkeys(["resolve", "fetch", "mux"], "done"), "note": "waiting", "publish": "waiting"}
        until(lambda: states() == before | {"stamp": "ready"}, 30)
        deep = service.request("GET", "/health/deep")
        assert deep.status == 503
        assert deep.json()["checks"]["stages"].startswith("stamp: no worker lives and 1 steps wait")
        assert service.job(job_id)["status"] == "running"
        # Another job passes it by: only what needs the newer version waits for it.
        assert service.ended(service.post(standin.source("short", other=1)))["status"] == "done"
        service.start("tests.e2e.newer", "stamp", "--worker", "--slots", "1")
        until(lambda: states()["stamp"] == "done", 30)
        until(lambda: [line for line in service.logs() if line["event"] == "step_unknown"], 15)
        assert states()["note"] == "ready", "the old pool of the same stage has read it, and left it"
        service.start("tests.e2e.newer", "publish", "--worker", "--slots", "1")
        # Its own file is published by both steps: the second finds what the first has put there.
        assert service.ended(job_id, 40)["status"] == "done"
        rows = service.rows("SELECT attempts, crashes FROM downloader_steps WHERE job_id = %(id)s", {"id": job_id})
        assert {(row["attempts"], row["crashes"]) for row in rows} == {(1, 0)}
    assert "stamp" not in ROUTE


def parent(pid):
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0
