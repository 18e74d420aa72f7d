"""Callbacks of a running service: from the post to the receiver."""

import json
import os
import signal
import time

import pytest

from downloader.callbacks import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from tests.chaos.faults import descendants, worker_id
from tests.receiver import Receiver
from tests.service import Service
from tests.waiting import until

SECRET = "shared secret"


@pytest.fixture
def receiver():
    with Receiver() as running:
        yield running


@pytest.fixture
def calling(tmp_path, standin, database_url, redis_url, redis_prefix):
    with Service(
        tmp_path,
        base=standin.base,
        database_url=database_url,
        redis_url=redis_url,
        prefix=redis_prefix,
        variables={"CALLBACK_ALLOW_HOSTS": "127.0.0.1", "CALLBACK_SECRET": SECRET},
    ) as service:
        yield service


def told(receiver):
    """What the receiver was told, by the job's id."""
    found = {}
    for _, headers, body in receiver.got:
        assert headers[SIGNATURE_HEADER] == sign(SECRET, int(headers[TIMESTAMP_HEADER]), body)
        job = json.loads(body)
        assert found.setdefault(job["id"], job) == job
    return found


def test_ends_of_every_kind_are_told(calling, standin, receiver):
    done = calling.post(standin.source("short"), callbackUrl=receiver.url)
    silent = calling.post(standin.source("short"))
    slow = standin.source("slow")
    answer = calling.request("POST", "/jobs", json={"url": slow, "callbackUrl": receiver.url})
    assert answer.status == 201
    cancelled = answer.json()["id"]
    assert calling.request("POST", f"/jobs/{cancelled}/cancel").status == 202
    assert calling.ended(silent)["status"] == "done"
    until(lambda: {done, cancelled} <= set(told(receiver)), 60)

    jobs = told(receiver)
    assert set(jobs) == {done, cancelled}
    shown = calling.job(done)
    assert {name: jobs[done][name] for name in ("url", "status", "stage", "title", "artifactUrl", "totalMs")} == {
        name: shown[name] for name in ("url", "status", "stage", "title", "artifactUrl", "totalMs")
    }
    assert calling.request("GET", jobs[done]["artifactUrl"]).status == 200
    assert (jobs[cancelled]["status"], jobs[cancelled]["errorCode"]) == ("failed", "cancelled")
    until(lambda: calling.rows("SELECT DISTINCT state FROM downloader_callbacks") == [{"state": "sent"}])

    lines = [line for line in calling.logs() if line.get("event") == "callback"]
    assert {line["job"] for line in lines} == {done, cancelled}
    log = calling.log.read_text()
    assert SECRET not in log
    assert receiver.url not in log


def test_a_sender_that_dies_after_it_has_sent_sends_the_same_end_again(calling, standin, receiver):
    """Killed between the receiver's answer and the note of it: at least once, and told apart by id and finishedAt."""
    killed = []

    def kill_the_sender():
        if killed:
            return
        for pid in descendants(calling.processes[0].pid):
            if ":janitor-" in worker_id(pid):
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)

    receiver.meanwhile = kill_the_sender
    job_id = calling.post(standin.source("long"), callbackUrl=receiver.url)
    until(lambda: killed)
    (row,) = calling.rows("SELECT state, attempts FROM downloader_callbacks")
    assert row == {"state": "due", "attempts": 1}
    # The dead sender's claim lapses a minute later: here now.
    calling.rows("UPDATE downloader_callbacks SET due_at = now() RETURNING 1")
    until(lambda: calling.rows("SELECT 1 FROM downloader_callbacks WHERE state = 'sent'"), 30)
    (_, _, first), (_, headers, second) = receiver.got
    assert first == second, "receivers tell by id and finishedAt that they know it"
    assert len(second) < 4096, "a title of a megabyte stays where it is"
    assert json.loads(second)["id"] == job_id
    assert headers[SIGNATURE_HEADER] == sign(SECRET, int(headers[TIMESTAMP_HEADER]), second)
    assert abs(int(headers[TIMESTAMP_HEADER]) - time.time()) < 60
    (row,) = calling.rows("SELECT state, attempts FROM downloader_callbacks")
    assert row == {"state": "sent", "attempts": 2}


def test_a_host_that_is_not_allowed_is_refused(calling, standin):
    for url in ("http://localhost/hook", "ftp://127.0.0.1/hook"):
        answer = calling.request("POST", "/jobs", json={"url": standin.source("short"), "callbackUrl": url})
        assert (answer.status, answer.json()["errorCode"]) == (400, "invalid_options")
        assert answer.json()["error"].startswith("callbackUrl takes")
    assert calling.rows("SELECT 1 FROM downloader_jobs") == []
