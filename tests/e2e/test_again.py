"""A job that failed is run again by the command and ends well."""

import subprocess

from tests.cli.running import DOWNLOADER


def retry(service, job_id):
    return subprocess.run(
        [*DOWNLOADER, "jobs", "retry", job_id], env=service.environment, capture_output=True, text=True, check=False
    )


def test_a_failed_job_runs_again_and_ends_well(service, standin):
    url = standin.source("late", again=1)
    job_id = service.post(url)
    failed = service.ended(job_id)
    assert (failed["status"], failed["stage"], failed["errorCode"]) == ("failed", "extract", "extraction_failed")
    done = retry(service, job_id)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{job_id} runs again from resolve\n"
    assert "Authorization" in done.stderr
    job = service.ended(job_id)
    assert (job["status"], job["progressPercent"]) == ("done", 100), job
    assert not {"error", "errorCode"} & job.keys()
    assert job["queuedAt"] > failed["finishedAt"]
    answer = service.request("GET", f"/jobs/{job_id}/artifact")
    assert answer.status == 200
    assert len(answer.data) > 10_000
    assert service.request("POST", "/jobs", json={"url": url}).json() == {"id": job_id, "cached": True}


def test_what_cannot_be_run_again_is_said(service, standin):
    job_id = service.post(standin.source("short", again=2))
    service.ended(job_id)
    for wanted, said in ((job_id, "Only a failed job can be run again."), ("unknown", "There is no such job.")):
        done = retry(service, wanted)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr == f"{wanted} {said}\n"
        assert "Traceback" not in done.stderr
    assert service.job(job_id)["status"] == "done"
