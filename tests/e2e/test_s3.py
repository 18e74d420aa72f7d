"""The whole service on a real S3 server, and a publish process killed in the middle of its uploads."""

import os
import signal
from urllib.parse import urlsplit

import pytest
import urllib3

from downloader.artifacts import open_store
from downloader.config import load
from tests.artifacts import job_killing
from tests.chaos.clients import packets
from tests.chaos.faults import descendants, worker_id
from tests.service import Service
from tests.swift.server import available, running
from tests.waiting import until

pytestmark = pytest.mark.skipif(not available(), reason="OpenStack Swift is not installed: no real S3 server here")


@pytest.fixture(scope="module")
def swift(tmp_path_factory):
    with running(tmp_path_factory.mktemp("swift") / "server") as server:
        yield server


@pytest.fixture(scope="module")
def service(tmp_path_factory, swift, standin):
    variables = {
        "STORAGE_BACKEND": "s3",
        "S3_ENDPOINT": swift.endpoint,
        "S3_USE_SSL": "false",
        "S3_REGION": swift.region,
        "S3_BUCKET": swift.bucket,
        "S3_ACCESS_KEY": swift.access_key,
        "S3_SECRET_KEY": swift.secret_key,
    }
    with Service(tmp_path_factory.mktemp("service"), base=standin.base, variables=variables) as found:
        yield found


def fetched(service, job_id):
    """The artifact as the gateway fetches it: through our redirect, from the store itself."""
    redirect = service.request("GET", f"/jobs/{job_id}/artifact", redirect=False)
    assert redirect.status == 302
    assert redirect.headers["X-TypeType-Artifact-Proxy"] == "1"
    with urllib3.PoolManager() as pool:
        return pool.request("GET", redirect.headers["Location"])


def test_a_job_is_done_when_its_file_is_in_the_store(service, standin):
    job_id = service.post(standin.source("demo"))
    job = service.ended(job_id)
    assert job["status"] == "done"
    assert job["artifactExpiresAt"]
    answer = fetched(service, job_id)
    assert answer.status == 200
    assert answer.data[4:8] == b"ftyp"
    assert "Sixty seconds" in answer.headers["Content-Disposition"]
    assert not (service.data / "jobs" / job_id).exists()
    query = urlsplit(str(answer.geturl())).query
    assert query
    assert query not in service.log.read_text(errors="replace")


def test_a_killed_upload_is_done_again_and_the_file_is_whole(service, standin):
    expected = packets(fetched(service, service.ended(service.post(standin.source("demo", whole=1)))["id"]).data)
    for number in range(3):
        job_id = service.post(standin.source("demo", killed=number))
        until(lambda i=job_id: publishing(service, i))
        for pid in descendants(service.processes[0].pid):
            if ":publish-" in worker_id(pid):
                os.kill(pid, signal.SIGKILL)
        assert service.ended(job_id)["status"] == "done"
        assert packets(fetched(service, job_id).data) == expected


def test_a_deleted_job_leaves_nothing_in_the_store(service, standin):
    job_id = service.post(standin.source("short", deleted=1))
    service.ended(job_id)
    location = service.request("GET", f"/jobs/{job_id}/artifact", redirect=False).headers["Location"]
    assert service.request("DELETE", f"/jobs/{job_id}").status == 204
    with urllib3.PoolManager() as pool:
        assert pool.request("GET", location).status == 404


def test_an_object_removed_behind_our_back_is_noticed_and_downloaded_anew(service, standin):
    url = standin.source("short", removed=1)
    job_id = service.post(url)
    service.ended(job_id)
    assert service.post(url) == job_id
    store = open_store(load(service.environment))
    store.delete_job(job_id)
    store.close()
    answer = service.request("GET", f"/jobs/{job_id}/artifact", redirect=False)
    assert (answer.status, answer.json()["errorCode"]) == (404, "artifact_missing")
    assert "artifactUrl" not in service.job(job_id)
    again = service.post(url)
    assert again != job_id
    assert service.ended(again)["status"] == "done"
    assert fetched(service, again).status == 200


def test_kills_inside_uploads_leave_whole_files_and_no_parts(tmp_path):
    """A few; ``python -m tests.artifacts.job_killing`` runs two hundred."""
    with running(tmp_path / "swift") as server:
        report = job_killing.run(tmp_path, server, kills=5, seconds=240)
    assert report.kills.total() == 5
    assert report.ends["done"]


def publishing(service, job_id):
    sql = "SELECT state FROM downloader_steps WHERE job_id = %(id)s AND name = 'publish'"
    return service.rows(sql, {"id": job_id})[0]["state"] in ("running", "done")
