"""A service whose volume fills up under it, in spite of every reservation."""

import subprocess
import sys

import pytest

from tests.service import ROOT, Service
from tests.volumes import volume
from tests.waiting import until

MIB = 1 << 20
KIB = 1 << 10


class OnVolume(Service):
    """A service in the mount namespace of ``disk``, which is where its data folder's ``part`` leads to."""

    def __init__(self, folder, disk, part, **kwargs):
        super().__init__(folder, **kwargs)
        self.data.mkdir()
        (self.data / part).symlink_to(disk.inside)
        self._disk = disk

    def start(self, *arguments):
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*self._disk.enter, sys.executable, "-m", *arguments],
                env=self.environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process


@pytest.fixture(scope="module")
def start(tmp_path_factory, standin):
    """Starts a service with a part of its data on a volume of its own."""

    def make(disk, part):
        return OnVolume(tmp_path_factory.mktemp("service"), disk, part, base=standin.base)

    return make


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    with volume(tmp_path_factory.mktemp("disk") / "volume", size=64 * MIB, names=200) as found:
        yield found


def refused(service, disk, job_id, step):
    """The job ends as one that found no room, at the first try of ``step``, and nothing of it is left."""
    job = service.ended(job_id)
    assert (job["status"], job["errorCode"]) == ("failed", "insufficient_storage"), job
    assert "disk" in job["error"]
    steps = service.rows(
        "SELECT name, attempts FROM downloader_steps WHERE state = 'failed' AND job_id = %(id)s", {"id": job_id}
    )
    assert steps == [{"name": step, "attempts": 1}]
    until(lambda: not (disk.path / job_id).exists() and not (service.data / "jobs" / job_id).exists())
    assert not (service.data / "artifacts" / job_id).exists()
    assert service.rows("SELECT FROM downloader_reservations") == []


def test_work_that_finds_no_room(start, disk, standin):
    with start(disk, "jobs") as service:
        names = disk.take_every_name()
        refused(service, disk, service.post(standin.source("short")), "resolve")
        for name in names.iterdir():
            name.unlink()

        filler = disk.fill(leave=64 * KIB)
        refused(service, disk, service.post(standin.source("short")), "fetch")
        filler.unlink()

        done = service.ended(service.post(standin.source("short")))
        assert done["status"] == "done"
        filler = disk.fill(leave=done["totalBytes"] + 64 * KIB)
        refused(service, disk, service.post(standin.source("short", again=1)), "mux")
        filler.unlink()
        assert service.ended(service.post(standin.source("short", again=2)))["status"] == "done"


def test_a_publish_that_finds_no_room(start, disk, standin):
    with start(disk, "artifacts") as service:
        filler = disk.fill(leave=64 * KIB)
        refused(service, disk, service.post(standin.source("short")), "publish")
        filler.unlink()
        done = service.ended(service.post(standin.source("short")))
        answer = service.request("GET", f"/jobs/{done['id']}/artifact")
        assert (answer.status, answer.data[4:8]) == (200, b"ftyp")
