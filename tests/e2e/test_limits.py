"""Limits of queue and disk, and artifacts past their time, in a running service."""

import pytest

from tests.service import Service
from tests.waiting import until


@pytest.fixture
def limited(tmp_path, standin, database_url, redis_url, redis_prefix):
    def start(**variables):
        return Service(
            tmp_path,
            base=standin.base,
            database_url=database_url,
            redis_url=redis_url,
            prefix=redis_prefix,
            variables=variables,
        )

    return start


def test_a_full_queue_is_429_with_retry_after(limited, standin):
    with limited(MAX_QUEUE_SIZE="2", MAX_CONCURRENT_WORKERS="1") as service:
        jobs = [service.post(standin.source("slow", n=number)) for number in range(3)]
        answer = service.request("POST", "/jobs", json={"url": standin.source("slow", n=9)})
        assert (answer.status, answer.json()["errorCode"]) == (429, "queue_full")
        assert int(answer.headers["Retry-After"]) > 0
        for job_id in jobs:
            service.request("POST", f"/jobs/{job_id}/cancel")
        assert service.post(standin.source("short"))


def test_below_the_minimum_of_free_space_a_post_is_507_with_figures(limited, standin):
    service = limited(STORAGE_MIN_FREE_BYTES=str(1 << 60))
    try:
        service.start("stages", "up")
        until(service.answers)
        answer = service.request("POST", "/jobs", json={"url": standin.source("short")})
        body = answer.json()
    finally:
        service.__exit__()
    assert (answer.status, body["errorCode"], body["code"]) == (507, "insufficient_storage", "insufficient_storage")
    assert 0 < body["freeBytes"] < body["requiredFreeBytes"]


def test_an_artifact_past_its_time_is_removed_and_said_so(limited, standin):
    with limited(ARTIFACT_TTL_SECONDS="1") as service:
        url = standin.source("short")
        job_id = service.post(url)
        assert service.ended(job_id)["artifactExpiresAt"]
        until(lambda: service.request("GET", f"/jobs/{job_id}/artifact").status == 410, 10)
        assert "artifactUrl" not in service.job(job_id)
        assert service.post(url) != job_id
        until(lambda: not (service.data / "artifacts" / job_id).exists(), 15)
        answer = service.request("GET", f"/jobs/{job_id}/artifact")
        assert (answer.status, answer.json()["errorCode"]) == (410, "artifact_expired")
