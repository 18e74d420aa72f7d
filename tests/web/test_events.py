"""Event streams: from a real server, over a real Valkey and Postgres."""

import json

import pytest

from downloader import embedded
from downloader.broker import Broker
from downloader.job import Progress
from downloader.states import Stage
from tests.web.test_server import access_log

STARTED = "2026-01-02T03:04:06Z"
FINISHED = "2026-01-02T03:04:16Z"


@pytest.fixture
def broker(shared_environ):
    """Publishes to the shared server's clients."""
    made = Broker(shared_environ["REDIS_URL"], shared_environ["REDIS_QUEUE_KEY"])
    yield made
    made.close()


def finish(rows, broker, job_id, **fields):
    values = {"status": "failed", "error": "The job was cancelled.", "error_code": "cancelled", "finished_at": FINISHED}
    rows.set(job_id, **values | fields)
    broker.announce(job_id)


def test_an_ended_job_is_one_event(server, rows):
    events = server.events(rows.done())
    headers = events.answer.headers
    assert headers["Content-Type"].startswith("text/event-stream")
    assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-cache", "no")
    number, job = events.next()
    assert (number, job["status"], job["progressPercent"]) == (1, "done", 100)
    assert events.next() is None
    events.close()


def test_two_clients_see_every_stage_to_the_end(server, rows, broker):
    job_id = rows.job()
    clients = [server.events(job_id), server.events(job_id)]
    for events in clients:
        assert events.next()[1]["status"] == "queued"
    rows.set(job_id, status="running", stage="download", started_at=STARTED)
    broker.announce(job_id)
    for events in clients:
        assert events.until("running")[-1]["stage"] == "download"
    broker.publish({job_id: Progress(Stage.DOWNLOAD, 41.0, 410, 1000, 50, 12)})
    for events in clients:
        job = events.next()[1]
        assert (job["progressPercent"], job["downloadedBytes"], job["etaSeconds"]) == (41.0, 410, 12)
    finish(rows, broker, job_id)
    for events in clients:
        assert events.until("failed")[-1]["errorCode"] == "cancelled"
        assert events.next() is None
        events.close()


def test_ids_rise_and_the_bar_never_falls(server, rows, broker):
    job_id = rows.job(status="running", stage="download", started_at=STARTED)
    events = server.events(job_id, Last_Event_ID="41")
    seen = [events.next()]
    for percent in (50.0, 20.0, 99.95):
        broker.publish({job_id: Progress(Stage.DOWNLOAD, percent, int(percent), 100)})
        seen.append(events.next())
    finish(rows, broker, job_id)
    seen.append(events.next())
    events.close()
    numbers = [number for number, _ in seen]
    assert numbers[0] == 42
    assert numbers == sorted(set(numbers))
    assert [job["progressPercent"] for _, job in seen] == [0, 50, 50, 99, 99]


def test_a_late_client_gets_the_snapshot_first(server, rows, broker):
    job_id = rows.job(status="running", stage="download", started_at=STARTED)
    broker.publish({job_id: Progress(Stage.DOWNLOAD, 33.0, 33, 100)})
    events = server.events(job_id)
    assert events.next()[1]["progressPercent"] == 33.0
    finish(rows, broker, job_id)
    events.until("failed")
    events.close()


def test_a_client_after_the_end_sees_how_far_a_failed_job_came(server, rows, broker):
    job_id = rows.job(status="running", stage="download", started_at=STARTED)
    broker.publish({job_id: Progress(Stage.DOWNLOAD, 33.0, 33, 100)})
    finish(rows, broker, job_id)
    for _ in range(2):
        events = server.events(job_id)
        job = events.next()[1]
        assert (job["status"], job["progressPercent"], job["downloadedBytes"]) == ("failed", 33, 33)
        assert events.next() is None
        events.close()


def test_a_change_that_nobody_announced_is_found(server, rows):
    job_id = rows.job()
    events = server.events(job_id)
    events.next()
    rows.set(job_id, status="failed", error_code="timed_out", finished_at=FINISHED)
    assert events.until("failed")[-1]["errorCode"] == "timed_out"
    events.close()


def test_without_redis(serve, own_rows):
    server = serve(REDIS_URL="redis://127.0.0.1:1/0")
    job_id = own_rows.job()
    events = server.events(job_id)
    events.next()
    own_rows.set(job_id, status="running", stage="mux", progress_percent=80, started_at=STARTED)
    assert events.until("running")[-1]["progressPercent"] == 80
    own_rows.set(job_id, status="failed", finished_at=FINISHED)
    events.until("failed")
    events.close()


def test_redis_goes_and_comes_back(serve, own_rows, tmp_path):
    valkey = embedded.Valkey(tmp_path / "valkey")
    valkey.start()
    server = serve(REDIS_URL=valkey.url)
    job_id = own_rows.job(status="running", stage="download", started_at=STARTED)
    events = server.events(job_id)
    events.next()
    valkey.stop()
    own_rows.set(job_id, progress_percent=20)
    assert events.next()[1]["progressPercent"] == 20
    valkey.start()
    broker = Broker(valkey.url, server.environ["REDIS_QUEUE_KEY"])
    # Published until the subscriber is back: what is said while nobody listens is lost, by design of pub/sub.
    percent = 30.0
    while broker._commands.publish(broker.channel("-"), "") == 0:
        percent += 0.001
    broker.publish({job_id: Progress(Stage.DOWNLOAD, 60.0, 60, 100)})
    while events.next()[1]["progressPercent"] != 60.0:
        pass
    finish(own_rows, broker, job_id)
    events.until("failed")
    events.close()
    broker.close()
    valkey.stop()


def test_a_deleted_job_ends_the_stream(server, rows, broker):
    job_id = rows.job()
    events = server.events(job_id)
    events.next()
    rows.run("DELETE FROM downloader_jobs WHERE id = %s", job_id)
    broker.announce(job_id)
    assert events.next() is None
    events.close()


def test_titles_cannot_break_out_of_an_event(server, rows):
    title = "a\nb\r\nevent: x\n\ndata: {}\u2028\u2029\x85\x0b🎬"
    events = server.events(rows.done(title=title))
    assert events.next()[1]["title"] == title
    assert events.next() is None
    events.close()


def test_an_unknown_job_is_a_json_404(server):
    status, headers, body = server.get("/jobs/abc/events")
    assert (status, headers["Content-Type"]) == (404, "application/json")
    assert json.loads(body)["errorCode"] == "not_found"


def test_head_opens_no_stream(server, rows):
    connection = server.connect()
    for _ in range(2):
        connection.request("HEAD", f"/jobs/{rows.job()}/events")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    connection.close()


def test_events_carry_nothing_of_other_jobs(server, rows, broker):
    mine, other = rows.job(status="running", started_at=STARTED), rows.job(status="running", started_at=STARTED)
    events, others = server.events(mine), server.events(other)
    assert (events.next()[1]["id"], others.next()[1]["id"]) == (mine, other)
    broker.publish({other: Progress(Stage.DOWNLOAD, 9.0, 9, 100), mine: Progress(Stage.DOWNLOAD, 7.0, 7, 100)})
    assert (events.next()[1]["progressPercent"], others.next()[1]["progressPercent"]) == (7.0, 9.0)
    events.close()
    others.close()


def test_sigterm_ends_open_streams(serve, own_rows):
    server = serve()
    events = server.events(own_rows.job())
    events.next()
    assert server.terminate() == 0
    assert events.next() is None
    events.close()


def test_each_stream_is_logged_once_it_ends(serve, own_rows):
    server = serve()
    events = server.events(own_rows.done())
    events.next()
    events.next()
    events.close()
    server.terminate()
    assert [line["status"] for line in access_log(server) if line["path"].endswith("/events")] == [200]
