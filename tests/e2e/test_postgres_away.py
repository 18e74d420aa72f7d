"""Postgres goes and comes back: web says so meanwhile, workers wait, transfers go on, and no job fails for it."""

import threading
import time
from pathlib import Path

import pytest

from downloader import embedded
from downloader.broker import Broker
from tests.e2e.paced import Paced
from tests.e2e.watching import events
from tests.service import Service
from tests.waiting import until

CHUNK = 1 << 16
ROUTES = [
    ("GET", "/jobs/{id}"),
    ("HEAD", "/jobs/{id}"),
    ("GET", "/jobs/{id}/events"),
    ("GET", "/jobs/{id}/artifact"),
    ("HEAD", "/jobs/{id}/artifact"),
    ("GET", "/jobs/{id}/files/en.srt"),
    ("POST", "/jobs/{id}/cancel"),
    ("DELETE", "/jobs/{id}"),
    ("POST", "/jobs"),
]


@pytest.fixture
def slow_host(tmp_path_factory):
    with Paced(tmp_path_factory.getbasetemp().parent / "media", rate=1) as host:
        yield host


@pytest.fixture
def postgres(tmp_path):
    server = embedded.Postgres(tmp_path / "postgres")
    server.start()
    yield server
    server.stop()


# Away for two leases, as 30 s are of the default one; and those 30 s themselves.
@pytest.mark.parametrize(("away", "lease"), [(6.0, "3"), (30.0, "15")])
def test_postgres_away_for_two_leases_fails_no_job(tmp_path, postgres, slow_host, away, lease):
    # Three connections share the picture: the transfer lasts as long as Postgres is away, and some seconds more.
    slow_host.rate = int(2_548_377 / (away + 5) / 3)
    variables = {"LEASE_SECONDS": lease, "DOWNLOAD_WORKERS": "3", "DOWNLOAD_CHUNK_SIZE": str(CHUNK)}
    with Service(tmp_path, base=slow_host.base, database_url=postgres.dsn, variables=variables) as service:
        supervisor = service.processes[0].pid
        job_id = service.post(slow_host.source("demo"))
        told, watching = watch(service, job_id)
        until(lambda: slow_host.sent["demo.mp4"] > 0)
        others = [service.post(slow_host.source("short", number)) for number in range(6)]
        until(lambda: service.job(others[0])["stage"] != "queued")
        before = children(supervisor)
        postgres.stop()
        came_back = time.monotonic() + away
        refused(service, job_id, slow_host.source("short", 99))
        until(lambda: time.monotonic() > came_back - away / 4, away)
        late = moved(service, job_id)
        until(lambda: time.monotonic() > came_back, away)
        last = moved(service, job_id)
        postgres.start()
        jobs = [service.ended(one, 60) for one in (job_id, *others)]
        rows = service.rows("SELECT * FROM downloader_steps")
        watching.join(10)
        assert children(supervisor) == before, "no process ended for it"
    assert [(job["status"], job.get("errorCode")) for job in jobs] == [("done", None)] * len(jobs)
    assert {(row["attempts"], row["crashes"], row["retries"]) for row in rows} == {(1, 0, 0)}
    assert last > late, "the transfer went on beyond the lease"
    # At the end idle connections help the slowest: what was under way to that is sent once more.
    assert slow_host.sent["demo.mp4"] - 2_548_377 <= 3 * CHUNK, "nothing was begun anew"
    assert not watching.is_alive()
    assert told[-1]["status"] == "done"
    percents = [state["progressPercent"] for state in told]
    assert percents == sorted(percents)


def refused(service, job_id, url):
    """Every route that needs Postgres says 503 and when to come again; the others answer."""
    for method, path in ROUTES:
        given = {"json": {"url": url}} if path == "/jobs" else {}
        answer = service.request(method, path.format(id=job_id), **given)
        assert (answer.status, int(answer.headers["Retry-After"]) > 0) == (503, True), (method, path)
        assert answer.headers["Content-Type"] == "application/json"
        if method != "HEAD":
            assert answer.json()["errorCode"] == "store_unavailable"
    assert service.request("GET", "/health").status == 200
    assert service.request("GET", "/version").status == 200
    deep = service.request("GET", "/health/deep")
    assert (deep.status, deep.json()["checks"]["postgres"]) == (503, "cannot be used; the log says why")


def children(pid):
    """Its own: what those have below them comes and goes with the work."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


def moved(service, job_id):
    """The bytes that the job's worker says it has."""
    broker = Broker(service.redis_url, "downloader:queue")
    try:
        return broker.snapshot(job_id).downloaded_bytes
    finally:
        broker.close()


def watch(service, job_id):
    """What a client is told of the job, while it goes on."""
    told = []

    def read():
        told.extend(event.data for event in events(f"{service.url}/jobs/{job_id}/events", 90))

    watching = threading.Thread(target=read, daemon=True)
    watching.start()
    return told, watching
