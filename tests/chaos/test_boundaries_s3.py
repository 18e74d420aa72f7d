"""SIGKILL while a file goes to S3: between its parts, between complete and commit, after it; on a real S3 server."""

import os
import signal

import pytest
import urllib3

from downloader.artifacts import open_store
from downloader.config import load
from tests.chaos.clients import packets
from tests.chaos.conftest import Chaos
from tests.service import Service, StandIn
from tests.swift.server import available, running
from tests.waiting import until

pytestmark = pytest.mark.skipif(not available(), reason="OpenStack Swift is not installed: no real S3 server here")

# Before the commit the upload is found or made again; after it nothing is.
REPEATED = {"first-byte": True, "half": True, "ran": True, "committed": False}


@pytest.fixture(scope="module")
def to_s3(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chaos-s3")
    plans = folder / "plans"
    plans.mkdir()
    standin = StandIn(tmp_path_factory.getbasetemp().parent / "media", module="tests.chaos.host")
    with running(folder / "swift") as swift:
        variables = {
            "LEASE_SECONDS": "2",
            "STORAGE_BACKEND": "s3",
            "S3_ENDPOINT": swift.endpoint,
            "S3_USE_SSL": "false",
            "S3_REGION": swift.region,
            "S3_BUCKET": swift.bucket,
            "S3_ACCESS_KEY": swift.access_key,
            "S3_SECRET_KEY": swift.secret_key,
        }
        roles = (("tests.chaos.worker", str(plans), "up"),)
        try:
            with Service(folder / "service", base=standin.base, variables=variables, roles=roles) as service:
                yield Chaos(service, standin, plans)
        finally:
            standin.close()


@pytest.fixture(scope="module")
def whole(to_s3):
    """The packets of the file, undisturbed."""
    job_id = to_s3.post("stout")
    assert to_s3.service.ended(job_id)["status"] == "done"
    return packets(fetched(to_s3.service, job_id))


def fetched(service, job_id):
    redirect = service.request("GET", f"/jobs/{job_id}/artifact", redirect=False)
    assert redirect.status == 302, redirect.data
    with urllib3.PoolManager() as pool:
        return pool.request("GET", redirect.headers["Location"]).data


def objects(service, job_id):
    """What the bucket holds of a job."""
    store = open_store(load(service.environment))
    try:
        listed = store._client.list_objects_v2(Bucket=store._name, Prefix=f"artifacts/{job_id}/")
        return [found["Key"] for found in listed.get("Contents", [])]
    finally:
        store.close()


@pytest.mark.parametrize("point", REPEATED)
def test_a_kill_on_the_way_to_s3_costs_an_attempt_and_nothing_else(to_s3, whole, point):
    to_s3.forget()
    to_s3.plan("publish", point)
    job_id = to_s3.post("stout")
    job = to_s3.service.ended(job_id, 40)
    until(lambda: to_s3.struck("publish", point), 5)
    assert (job["status"], job.get("errorCode")) == ("done", None)
    row = to_s3.steps(job_id)["publish"]
    assert (row["attempts"], row["crashes"]) == ((2, 1) if REPEATED[point] else (1, 0))
    assert len(objects(to_s3.service, job_id)) == 1
    assert packets(fetched(to_s3.service, job_id)) == whole
    until(to_s3.nothing_left, 20)


@pytest.mark.parametrize("point", ["half", "ran"])
def test_a_worker_that_wakes_late_changes_no_object(to_s3, whole, point):
    to_s3.forget()
    to_s3.plan("publish", point, "stop")
    job_id = to_s3.post("stout")
    try:
        job = to_s3.service.ended(job_id, 40)
        before = to_s3.steps(job_id), objects(to_s3.service, job_id)
    finally:
        for pid in to_s3.struck("publish", point):
            os.kill(pid, signal.SIGCONT)
    assert to_s3.struck("publish", point)
    assert (job["status"], job.get("errorCode")) == ("done", None)
    assert before[0]["publish"]["epoch"] == 2
    # It has woken when all slots take part again.
    until(to_s3.service.healthy, 20)
    again = [to_s3.post() for _ in range(4)]
    assert {to_s3.service.ended(one, 40)["status"] for one in again} == {"done"}
    assert (to_s3.steps(job_id), objects(to_s3.service, job_id)) == before
    assert packets(fetched(to_s3.service, job_id)) == whole
