"""Every part is stopped and started again between two steps; pools run one at a time, each under its own supervisor."""

import os
import signal
from pathlib import Path

import pytest

from downloader import embedded
from downloader.route import stage_names
from tests.service import Service
from tests.waiting import ended, until


@pytest.fixture
def servers(tmp_path):
    postgres, valkey = embedded.Postgres(tmp_path / "postgres"), embedded.Valkey(tmp_path / "valkey")
    postgres.start()
    valkey.start()
    yield postgres, valkey
    postgres.stop()
    valkey.stop()


def test_a_job_survives_a_restart_of_everything_between_any_two_steps(tmp_path, servers, standin):
    postgres, valkey = servers
    service = Service(tmp_path, base=standin.base, database_url=postgres.dsn, redis_url=valkey.url, roles=())
    service.migrate()
    try:
        web = service.start("web")
        until(service.answers)
        job_id = service.post(standin.source("short", restarted=1), headers={"Authorization": "Bearer kept"})
        for stage in stage_names():
            stop(web)
            for server in servers:
                server.stop()
                server.start()
            web = service.start("web")
            janitor = service.start("stages", "janitor")
            pool = service.start("stages", stage, "--processes", "2", "--slots", "1")
            until(lambda name=stage: step(service, job_id, name)["state"] == "done", 30)
            stop(pool)
            stop(janitor)
        until(service.answers)
        assert service.ended(job_id, 5)["status"] == "done"
        assert service.request("GET", f"/jobs/{job_id}/artifact").status == 200
        rows = service.rows("SELECT attempts, crashes FROM downloader_steps")
        assert {(row["attempts"], row["crashes"]) for row in rows} == {(1, 0)}
    finally:
        service.__exit__()


def test_sigterm_drains_a_pool_and_hands_back_what_does_not_end_in_time(tmp_path, servers, standin):
    postgres, valkey = servers
    service = Service(
        tmp_path,
        base=standin.base,
        database_url=postgres.dsn,
        redis_url=valkey.url,
        roles=(),
        variables={"DRAIN_SECONDS": "0.5"},
    )
    service.migrate()
    try:
        for role in (("web",), ("stages", "janitor")):
            service.start(*role)
        until(service.answers)
        first = service.start("stages", "resolve")
        job_id = service.post(standin.source("slow"))
        until(lambda: step(service, job_id, "resolve")["state"] == "running", 20)
        first.terminate()
        assert first.wait(10) == 0
        row = step(service, job_id, "resolve")
        assert (row["state"], row["attempts"], row["crashes"], row["retries"]) == ("ready", 1, 0, 0)
        service.start("stages", "resolve")
        until(lambda: step(service, job_id, "resolve")["attempts"] == 2, 20)
        service.request("POST", f"/jobs/{job_id}/cancel")
    finally:
        service.__exit__()


def test_nothing_of_the_service_outlives_a_killed_supervisor(tmp_path, servers, standin):
    postgres, valkey = servers
    with Service(tmp_path, base=standin.base, database_url=postgres.dsn, redis_url=valkey.url) as service:
        (supervisor,) = service.processes
        children = descendants(supervisor.pid)
        assert len(children) >= 6
        os.kill(supervisor.pid, signal.SIGKILL)
        assert all(ended(pid, 20) for pid in children)


def step(service, job_id, name):
    values = {"id": job_id, "name": name}
    return service.rows("SELECT * FROM downloader_steps WHERE job_id = %(id)s AND name = %(name)s", values)[0]


def stop(process):
    process.terminate()
    assert process.wait(20) == 0


def descendants(root):
    children = [int(pid) for pid in Path(f"/proc/{root}/task/{root}/children").read_text().split()]
    return [pid for child in children for pid in (child, *descendants(child))]
