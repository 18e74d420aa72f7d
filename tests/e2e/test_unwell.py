"""What really breaks is told: by the health page, by ``downloader doctor`` and beside the list of jobs."""

import os
import shutil
import subprocess
import sys

import pytest

from downloader import embedded
from downloader.route import JANITOR, stage_names
from tests.cli.running import DOWNLOADER
from tests.service import ROOT, Service
from tests.volumes import volume
from tests.waiting import until

MIB = 1 << 20


class Roles(Service):
    """Web, the janitor and each stage under a supervisor of its own, with DATA_DIR on a small volume if there is one."""

    def __init__(self, folder, disk, **kwargs):
        more = {"STORAGE_MIN_FREE_BYTES": str(16 * MIB), "LEASE_SECONDS": "2"}
        if disk:
            more["DATA_DIR"] = str(disk.inside / "data")
        roles = (("web",), *(("stages", name) for name in (*stage_names(), JANITOR)))
        super().__init__(folder, roles=roles, variables=more, **kwargs)
        self._enter = disk.enter if disk else ()

    def start(self, *arguments):
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*self._enter, sys.executable, "-m", *arguments],
                env=self.environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def role(self, name):
        """The supervisor of a role."""
        return self.processes[[role[-1] for role in self._roles].index(name)]

    def command(self, *arguments):
        return subprocess.run(
            [*self._enter, *DOWNLOADER, *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    def doctor(self):
        """(exit status, what it says of each part that is not well, its advice)."""
        done = self.command("doctor", "--server", self.url)
        rows = [line.split("\t") for line in done.stdout.splitlines()[1:]]
        return done.returncode, {row[0]: row[2] for row in rows if row[1] == "WRONG"}, done.stderr

    def checks(self):
        """(HTTP status, what is not well) of the health page."""
        answer = self.request("GET", "/health/deep")
        found = answer.json()["checks"]
        return answer.status, {name: said for name, said in found.items() if said != "ok"}


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    server = embedded.Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    if shutil.which("unshare") is None or os.geteuid() != 0:
        yield None
        return
    with volume(tmp_path_factory.mktemp("disk") / "volume", size=64 * MIB) as found:
        yield found


@pytest.fixture(scope="module")
def service(tmp_path_factory, standin, disk, valkey):
    with Roles(tmp_path_factory.mktemp("service"), disk, base=standin.base, redis_url=valkey.url) as running:
        yield running


@pytest.fixture(autouse=True)
def well(service):
    """All is well before, and again after: nothing needed a restart of what did not break."""
    until(service.healthy, 20)
    yield
    until(service.healthy, 20)


def test_nothing_is_wrong(service):
    assert service.checks() == (200, {})
    assert service.doctor() == (0, {}, "")


def test_a_stuck_stage(service, standin):
    service.role("fetch").terminate()
    assert service.role("fetch").wait(20) == 0
    try:
        job_id = service.post(standin.source("short", stuck=1))
        until(lambda: "steps wait" in service.checks()[1].get("stages", ""), 20)
        status, wrong = service.checks()
        assert (status, list(wrong)) == (503, ["stages"])
        assert wrong["stages"].startswith("fetch: no worker lives and 1 steps wait, the oldest for ")
        status, wrong, advice = service.doctor()
        assert status == 1
        assert wrong["queues"].startswith("fetch: no worker lives and 1 steps wait")
        assert "Start what is missing" in advice
        assert "WRONG fetch: no worker lives and 1 steps wait" in service.command("jobs", "list").stderr
    finally:
        service.start("stages", "fetch")
    assert service.ended(job_id)["status"] == "done"


def test_a_dead_janitor(service):
    service.role(JANITOR).terminate()
    assert service.role(JANITOR).wait(20) == 0
    try:
        status, wrong = service.checks()
        assert (status, list(wrong)) == (503, ["janitor"])
        assert wrong["janitor"].startswith("no janitor lives")
        status, wrong, _ = service.doctor()
        assert status == 1
        assert wrong["queues"].startswith("no janitor lives")
        assert "WRONG no janitor lives" in service.command("jobs", "list").stderr
    finally:
        service.start("stages", JANITOR)


def test_a_lost_redis(service, valkey, standin):
    valkey.stop()
    try:
        assert service.checks() == (503, {"dragonfly": "cannot be used; the log says why"})
        status, wrong, advice = service.doctor()
        assert status == 1
        assert wrong["redis"].startswith("Redis cannot be used")
        assert "Check REDIS_URL" in advice
        job_id = service.post(standin.source("short", without_redis=1))
        assert service.ended(job_id)["status"] == "done", "and jobs move all the same"
    finally:
        valkey.start()


def test_a_full_disk(service, disk, standin):
    if disk is None:
        pytest.skip("only root may mount a small volume to fill")
    filler = disk.fill()
    try:
        status, wrong = service.checks()
        assert (status, list(wrong)) == (503, ["disk"])
        assert wrong["disk"].startswith("low: ")
        status, wrong, advice = service.doctor()
        assert status == 1
        assert "MiB must stay free" in wrong["disk"]
        assert "Free some space" in advice
        answer = service.request("POST", "/jobs", json={"url": standin.source("short", full=1)})
        assert (answer.status, answer.json()["errorCode"]) == (507, "insufficient_storage")
    finally:
        filler.unlink()
    assert service.ended(service.post(standin.source("short", full=1)))["status"] == "done"
