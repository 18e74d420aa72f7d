"""A service whose workers die or freeze where a test asks for it."""

import hashlib
import io

import av
import pytest

from downloader.route import ROUTE
from tests.service import Service, StandIn
from tests.waiting import until


class Chaos:
    """The service, and what a test does to it."""

    def __init__(self, service, standin, plans):
        self.service = service
        self.standin = standin
        self.plans = plans
        self._number = 0

    def plan(self, step, point, how="kill", times=1):
        for number in range(times):
            plan = self.plans / f"{step}.{point}.{number}.new"
            plan.write_text(how)
            plan.rename(plan.with_suffix(".todo"))

    def struck(self, step, point):
        """The pids of the processes that met the point."""
        return [int(path.suffix[1:]) for path in self.plans.glob(f"{step}.{point}.*") if path.suffix[1:].isdigit()]

    def forget(self):
        for plan in self.plans.iterdir():
            plan.unlink()

    def post(self, source="short", **options):
        self._number += 1
        return self.service.post(self.standin.source(source, chaos=self._number), **options)

    def steps(self, job_id):
        rows = self.service.rows("SELECT * FROM downloader_steps WHERE job_id = %(id)s", {"id": job_id})
        return {row["name"]: row for row in rows}

    def packets(self, job_id):
        """A digest of every packet in the job's file: equal for equal media, however it was put together."""
        answer = self.service.request("GET", f"/jobs/{job_id}/artifact")
        assert answer.status == 200, answer.data
        digest = hashlib.sha256()
        with av.open(io.BytesIO(answer.data)) as media:
            for packet in media.demux():
                if packet.size:
                    digest.update(b"%d %d " % (packet.stream_index, packet.pts) + bytes(packet))
        return digest.hexdigest()

    def nothing_left(self):
        """Whether no step runs, no disk is reserved and no work folder is left."""
        sql = (
            "SELECT (SELECT count(*) FROM downloader_steps WHERE state IN ('ready', 'running', 'waiting'))"
            " + (SELECT count(*) FROM downloader_reservations) AS n"
        )
        folder = self.service.data / "jobs"
        return self.service.rows(sql)[0]["n"] == 0 and not (folder.exists() and list(folder.iterdir()))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chaos")
    plans = folder / "plans"
    plans.mkdir()
    standin = StandIn(tmp_path_factory.getbasetemp().parent / "media")
    # Short leases: what waits for one to run out should not take a test's whole time.
    variables = {"MAX_CONCURRENT_WORKERS": "2", "LEASE_SECONDS": "3"}
    roles = (("tests.chaos.worker", str(plans), "up"),)
    try:
        with Service(folder, base=standin.base, variables=variables, roles=roles) as service:
            yield Chaos(service, standin, plans)
    finally:
        standin.close()


@pytest.fixture
def chaos(running):
    running.forget()
    yield running
    until(running.nothing_left, 20)


@pytest.fixture(scope="module")
def expected(running):
    """The packets of the short source, undisturbed."""
    job_id = running.post()
    assert running.service.ended(job_id)["status"] == "done"
    return running.packets(job_id)


STEPS = list(ROUTE)
