"""The whole path through real processes: post, watch, fetch the file."""

import io
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import av
import pytest

from tests.e2e.watching import events
from tests.waiting import until


def test_a_posted_job_becomes_a_playable_file(service, standin):
    job_id = service.post(standin.source("demo"), mode="video", height=720, container="mp4")
    job = service.ended(job_id)
    assert (job["status"], job["stage"], job["progressPercent"]) == ("done", "done", 100)
    assert job["title"] == "Sixty seconds of a moving gradient"
    assert job["resolved"]["height"] == 720
    assert {"queuedAt", "startedAt", "finishedAt", "downloadMs", "muxMs", "uploadMs", "totalMs"} <= set(job)
    assert job["artifactUrl"] == f"/jobs/{job_id}/artifact"
    answer = service.request("GET", f"/jobs/{job_id}/artifact")
    assert answer.status == 200
    with av.open(io.BytesIO(answer.data)) as media:
        assert {stream.type for stream in media.streams} >= {"video", "audio"}
        assert media.duration / av.time_base == pytest.approx(60, abs=0.5)
        assert sum(1 for _ in media.decode(video=0)) > 500
    assert not (service.data / "jobs" / job_id).exists()


def test_the_same_post_is_cached_once_it_is_done(service, standin):
    url = standin.source("short", once=1)
    job_id = service.post(url)
    service.ended(job_id)
    answer = service.request("POST", "/jobs", json={"url": url})
    assert answer.json() == {"id": job_id, "cached": True}


def test_thirty_two_equal_posts_over_two_web_processes_are_one_job(service, standin):
    url = standin.source("short", many=1)
    with ThreadPoolExecutor(32) as pool:
        ids = set(pool.map(lambda _: service.post(url), range(32)))
    assert len(ids) == 1
    assert service.ended(ids.pop())["status"] == "done"


def test_events_tell_every_change_and_end_with_the_job(service, standin):
    job_id = service.post(standin.source("demo", watched=1))
    told = list(events(f"{service.url}/jobs/{job_id}/events"))
    assert {event.name for event in told} == {"progress"}
    percents = [event.data["progressPercent"] for event in told]
    assert percents == sorted(percents)
    assert told[-1].data["status"] == "done"
    assert told[-1].data["artifactUrl"]


def test_a_deleted_job_leaves_nothing(service, standin):
    job_id = service.post(standin.source("short", deleted=1))
    service.ended(job_id)
    assert (service.data / "artifacts" / job_id).exists()
    assert service.request("DELETE", f"/jobs/{job_id}").status == 204
    assert service.request("GET", f"/jobs/{job_id}").status == 404
    assert not (service.data / "artifacts" / job_id).exists()


def test_an_artifact_removed_behind_our_back_is_noticed_and_downloaded_anew(service, standin):
    url = standin.source("short", removed=1)
    job_id = service.post(url)
    service.ended(job_id)
    for item in (service.data / "artifacts" / job_id).iterdir():
        item.unlink()
    answer = service.request("GET", f"/jobs/{job_id}/artifact")
    assert (answer.status, answer.json()["errorCode"]) == (404, "artifact_missing")
    assert service.post(url) != job_id


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("forbidden", "extraction_failed"),
        ("missing", "extraction_failed"),
        ("broken", "extraction_failed"),
        ("wild", "extraction_failed"),
        ("empty", "no_stream"),
    ],
)
def test_what_typetype_server_refuses_ends_in_a_code_and_a_sentence(service, standin, source, code):
    job = service.ended(service.post(standin.source(source)))
    assert (job["status"], job["errorCode"]) == ("failed", code)
    assert job["error"]
    assert "Traceback" not in job["error"]
    assert not (service.data / "jobs" / job["id"]).exists()


def test_authorization_reaches_typetype_server_and_nobody_else(service, standin):
    job_id = service.post(standin.source("short", secret=1), headers={"Authorization": "Bearer hush-hush-token"})
    job = service.ended(job_id)
    assert job["status"] == "done"
    assert "hush-hush" not in str(job)
    assert "hush-hush" not in service.log.read_text(errors="replace")
    assert (service.data / "secret.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("source", "stage"), [("slow", "extract"), ("stalled", "download")])
def test_a_cancel_stops_the_network_within_a_second(service, standin, source, stage):
    job_id = service.post(standin.source(source))
    until(lambda: service.job(job_id)["stage"] == stage)
    answer = service.request("POST", f"/jobs/{job_id}/cancel")
    assert (answer.status, answer.json()["status"]) == (202, "cancelled")
    job = service.job(job_id)
    assert (job["status"], job["stage"], job["errorCode"]) == ("failed", stage, "cancelled")
    again = service.request("POST", f"/jobs/{job_id}/cancel")
    assert (again.status, again.json()["errorCode"]) == (409, "not_cancellable")
    (line,) = until(
        lambda: [line for line in service.logs() if line.get("job") == job_id and line.get("end") == "cancelled"]
    )
    assert finished(line) - parsed(job["finishedAt"]) < 1.0
    until(lambda: not (service.data / "jobs" / job_id).exists(), 3)


def test_one_log_line_a_step_with_job_epoch_bytes_and_durations(service, standin):
    job_id = service.post(standin.source("short", logged=1))
    service.ended(job_id)
    lines = until(
        lambda: (
            len(found := [x for x in service.logs() if x.get("job") == job_id and x["event"] == "step"]) == 4 and found
        )
    )
    assert [line["step"] for line in lines] == ["resolve", "fetch", "mux", "publish"]
    assert all({"epoch", "waited_ms", "took_ms", "end"} <= set(line) for line in lines)
    assert all(line["bytes"] > 0 for line in lines[1:])


def finished(line):
    return parsed(line["timestamp"])


def parsed(text):
    return datetime.fromisoformat(text).timestamp()
