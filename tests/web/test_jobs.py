"""Posting, reading, cancelling and deleting, on a real Postgres and Valkey."""

import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from downloader import disk, room
from downloader.broker import Broker
from downloader.errors import StorageFailed, StorageRefused, StoreUnavailable
from downloader.job import Progress
from downloader.states import Stage
from downloader.store import Store
from tests.web.rows import Rows
from web import jobs
from web.app import create_app
from web.parts import Parts

URL = "https://example.com/v"
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def post(client: FlaskClient, headers: dict[str, str] | None = None, **fields: object) -> TestResponse:
    return client.post("/jobs", json={"url": URL} | fields, headers=headers)


def is_error(answer: TestResponse, status: int, code: str) -> bool:
    document = answer.get_json()
    assert set(document) >= {"error", "errorCode", "code"}
    assert document["error"].endswith(".")
    assert "Traceback" not in answer.text
    assert (answer.status_code, document["errorCode"], document["code"]) == (status, code, code)
    return True


def test_a_new_job_is_queued_and_its_first_step_added(client, parts, own_rows):
    answer = post(client, {"X-Request-ID": "r-1"}, options={"mode": "audio"})
    assert answer.status_code == 201
    job_id = answer.get_json()["id"]
    assert answer.get_json() == {"id": job_id, "cached": False}
    assert len(job_id) == 32
    assert int(job_id, 16)
    assert [(entry.stage, entry.job_id, entry.step) for entry in parts.broker.entries("resolve")] == [
        ("resolve", job_id, "resolve")
    ]
    assert own_rows.run("SELECT options, request_id FROM downloader_jobs") == [({"mode": "audio"}, "r-1")]
    found = client.get(f"/jobs/{job_id}").get_json()
    assert (found["id"], found["url"], found["status"], found["stage"]) == (job_id, URL, "queued", "queued")


def test_equal_posts_are_one_job(client):
    first = post(client, options={"videoItag": "137"}).get_json()
    assert post(client, options={"videoItag": 137, "height": None}).get_json() == first
    assert post(client, options={"videoItag": 137, "audioItag": "-1", "fps": -1}).get_json() == first
    assert post(client, options={"videoItag": 138}).get_json() != first
    assert post(client, {"Authorization": "Bearer a"}, options={"videoItag": 137}).get_json() != first


def test_32_equal_posts_at_once_are_one_job(client, parts, own_rows):
    app = create_app(parts)
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: post(app.test_client()).get_json()["id"], range(32)))
    assert len(set(answers)) == 1
    assert own_rows.run("SELECT count(*) FROM downloader_jobs") == [(1,)]


def test_a_done_job_is_cached_until_its_file_is_gone(client, own_rows):
    first = post(client).get_json()["id"]
    done(own_rows, first)
    assert post(client).get_json() == {"id": first, "cached": True}
    (own_rows.data / "artifacts" / first / "clip.mp4").unlink()
    assert is_error(client.get(f"/jobs/{first}/artifact"), 404, "artifact_missing")
    assert "artifactUrl" not in client.get(f"/jobs/{first}").get_json()
    assert is_error(client.get(f"/jobs/{first}/artifact"), 404, "artifact_missing")
    again = post(client).get_json()
    assert again["id"] != first
    assert again["cached"] is False


def done(own_rows: Rows, job_id: str, **fields: object) -> None:
    """Let a posted job be done, with an artifact that stands."""
    [key] = own_rows.run("SELECT cache_key FROM downloader_jobs WHERE id = %s", job_id)[0]
    own_rows.run("DELETE FROM downloader_jobs WHERE id = %s", job_id)
    own_rows.done(id=job_id, cache_key=key, **fields)


def test_a_done_job_whose_file_is_gone_is_not_cached(client, own_rows):
    first = post(client).get_json()["id"]
    done(own_rows, first)
    shutil.rmtree(own_rows.data / "artifacts" / first)
    again = post(client).get_json()
    assert again["id"] != first
    assert again["cached"] is False
    assert is_error(client.get(f"/jobs/{first}/artifact"), 404, "artifact_missing")
    assert post(client).get_json() == again


def test_of_two_done_jobs_the_one_whose_file_stands_is_cached(client, own_rows):
    first = post(client).get_json()["id"]
    done(own_rows, first)
    own_rows.run("UPDATE downloader_jobs SET artifact = '' WHERE id = %s", first)
    second = post(client).get_json()["id"]
    done(own_rows, second, queued_at="2026-01-03T00:00:00Z")
    own_rows.set(first, artifact=f"artifacts/{first}/clip.mp4")
    shutil.rmtree(own_rows.data / "artifacts" / second)
    assert post(client).get_json() == {"id": first, "cached": True}


@pytest.mark.parametrize("error", [StorageFailed("It does not answer."), StorageRefused("It refuses.")])
def test_a_store_that_says_nothing_leaves_the_row_its_word(client, parts, own_rows, monkeypatch, error):
    first = post(client).get_json()["id"]
    done(own_rows, first)

    def away(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(parts.artifacts, "head", away)
    assert post(client).get_json() == {"id": first, "cached": True}


def test_authorization_is_sealed_and_never_answered(client, parts, own_rows):
    job_id = post(client, {"Authorization": "Bearer s3cret"}).get_json()["id"]
    sealed = bytes(own_rows.run("SELECT sealed_authorization FROM downloader_jobs")[0][0])
    assert b"s3cret" not in sealed
    assert parts.vault.open(sealed) == "Bearer s3cret"
    assert "s3cret" not in client.get(f"/jobs/{job_id}").text


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        ({"data": b"{", "content_type": "application/json"}, 400, "invalid_json"),
        ({"data": b"", "content_type": "application/json"}, 400, "invalid_json"),
        ({"json": [1]}, 400, "invalid_json"),
        ({"json": {}}, 400, "invalid_url"),
        ({"json": {"url": "/v"}}, 400, "invalid_url"),
        ({"json": {"url": URL, "options": {"mode": "film"}}}, 400, "invalid_options"),
        ({"json": {"url": URL, "options": []}}, 400, "invalid_options"),
        ({"data": b"url=x", "content_type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        ({"data": b"x", "content_type": "multipart/form-data; boundary=x"}, 415, "unsupported_media_type"),
        ({"json": {"url": URL}, "headers": {"Content-Encoding": "gzip"}}, 415, "unsupported_media_type"),
        ({"json": {"url": "x" * 70_000}}, 413, "body_too_large"),
    ],
)
def test_bad_posts(client, own_rows, arguments, status, code):
    assert is_error(client.post("/jobs", **arguments), status, code)
    assert own_rows.run("SELECT count(*) FROM downloader_jobs") == [(0,)]


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "application/vnd.x+json", ""])
def test_content_types_of_json(client, kind):
    assert client.post("/jobs", data=json.dumps({"url": URL}), content_type=kind).status_code == 201


def test_a_full_queue(make_parts):
    client = create_app(make_parts(MAX_QUEUE_SIZE="1", MAX_CONCURRENT_WORKERS="1")).test_client()
    first = post(client).get_json()["id"]
    assert post(client, options={"height": 1}).status_code == 201
    answer = post(client, options={"height": 2})
    assert is_error(answer, 429, "queue_full")
    assert int(answer.headers["Retry-After"]) > 0
    assert post(client).get_json()["id"] == first


def test_too_little_disk(make_parts, own_rows):
    client = create_app(make_parts(STORAGE_MIN_FREE_BYTES=str(1 << 60))).test_client()
    answer = post(client)
    assert is_error(answer, 507, "insufficient_storage")
    assert answer.get_json()["requiredFreeBytes"] == 1 << 60
    assert 0 < answer.get_json()["freeBytes"] < 1 << 60
    assert own_rows.run("SELECT count(*) FROM downloader_jobs") == [(0,)]


def test_a_full_disk_refuses_no_job_that_is_there(make_parts, own_rows):
    full = create_app(make_parts(STORAGE_MIN_FREE_BYTES=str(1 << 60))).test_client()
    job_id = post(create_app(make_parts()).test_client()).get_json()["id"]
    assert post(full).get_json() == {"id": job_id, "cached": False}
    done(own_rows, job_id)
    assert post(full).get_json() == {"id": job_id, "cached": True}
    assert is_error(post(full, options={"height": 1}), 507, "insufficient_storage")
    assert own_rows.run("SELECT count(*) FROM downloader_jobs") == [(1,)]
    shutil.rmtree(own_rows.data / "artifacts" / job_id)
    assert is_error(post(full), 507, "insufficient_storage")


def test_a_disk_that_hangs_holds_no_post_up(client, own_rows, monkeypatch):
    free = threading.Event()
    monkeypatch.setattr(jobs, "DISK_SECONDS", 0.01)
    monkeypatch.setattr("downloader.disk.free", lambda _path: free.wait())
    answer = post(client)
    free.set()
    assert is_error(answer, 503, "storage_failed")
    assert int(answer.headers["Retry-After"]) > 0
    assert own_rows.run("SELECT count(*) FROM downloader_jobs") == [(0,)]


@pytest.fixture
def set_aside(make_parts, own_rows, monkeypatch):
    """A client of a service with 100 MiB free, and a job that has set 60 MiB of it aside; its folder."""
    parts = make_parts(STORAGE_MIN_FREE_BYTES=str(50 << 20))
    monkeypatch.setattr(disk, "free", lambda _path: disk.DiskSpace(total=200 << 20, free=100 << 20))
    client = create_app(parts).test_client()
    job_id = post(client).get_json()["id"]
    own_rows.run(
        "INSERT INTO downloader_reservations (job_id, volume, bytes) VALUES (%s, %s, %s)",
        job_id, room.volume_id(parts.settings.data_dir), 60 << 20,
    )  # fmt: skip
    folder = parts.settings.jobs_dir / job_id
    folder.mkdir(parents=True)
    return client, folder


def test_disk_set_aside_counts(set_aside):
    client, _ = set_aside
    answer = post(client, options={"height": 1})
    assert is_error(answer, 507, "insufficient_storage")
    assert answer.get_json()["freeBytes"] == 40 << 20


def test_what_is_written_of_it_counts_once(set_aside):
    client, folder = set_aside
    (folder / "track").write_bytes(bytes(8 << 20))
    answer = post(client, options={"height": 1})
    assert is_error(answer, 507, "insufficient_storage")
    assert answer.get_json()["freeBytes"] == 48 << 20
    (folder / "other").write_bytes(bytes(2 << 20))
    assert post(client, options={"height": 1}).status_code == 201


def test_without_postgres(make_parts):
    client = create_app(make_parts(DATABASE_URL=NOWHERE)).test_client()
    for answer in (
        post(client),
        client.get("/jobs/abc"),
        client.post("/jobs/abc/cancel"),
        client.get("/jobs/abc/events"),
    ):
        assert is_error(answer, 503, "store_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert "nobody" not in answer.text


def test_without_redis(make_parts, own_rows):
    client = create_app(make_parts(REDIS_URL="redis://127.0.0.1:1/0")).test_client()
    job_id = post(client).get_json()["id"]
    assert client.get(f"/jobs/{job_id}").get_json()["status"] == "queued"
    assert client.post(f"/jobs/{job_id}/cancel").status_code == 202


def test_live_progress_is_laid_over_the_row(client, parts, own_rows):
    job_id = own_rows.job(status="running", stage="download", started_at="2026-01-02T03:04:06Z")
    parts.broker.publish({job_id: Progress(Stage.DOWNLOAD, 40.0, 400, 1000, 50, 12)})
    found = client.get(f"/jobs/{job_id}").get_json()
    assert (found["progressPercent"], found["downloadedBytes"], found["totalBytes"]) == (40.0, 400, 1000)
    assert (found["speedBytesPerSecond"], found["etaSeconds"]) == (50, 12)


def test_cancel(client, own_rows):
    job_id = post(client, {"Authorization": "Bearer x"}).get_json()["id"]
    answer = client.post(f"/jobs/{job_id}/cancel")
    assert answer.status_code == 202
    found = answer.get_json()
    assert (found["status"], found["errorCode"], found["id"], found["url"]) == ("cancelled", "cancelled", job_id, URL)
    now = client.get(f"/jobs/{job_id}").get_json()
    assert (now["status"], now["errorCode"]) == ("failed", "cancelled")
    assert own_rows.run("SELECT sealed_authorization FROM downloader_jobs") == [(None,)]
    assert is_error(client.post(f"/jobs/{job_id}/cancel"), 409, "not_cancellable")
    assert post(client, {"Authorization": "Bearer x"}).get_json()["id"] != job_id


def test_progress_does_not_fall_with_a_cancel_whichever_process_is_asked(make_parts, own_rows):
    parts, others = make_parts(), make_parts()
    job_id = own_rows.job(status="running", stage="download", started_at="2026-01-02T03:04:06Z", progress_percent=2)
    parts.broker.publish({job_id: Progress(Stage.DOWNLOAD, 40.7, 400, 1000, 50, 12)})
    cancelled = create_app(parts).test_client().post(f"/jobs/{job_id}/cancel").get_json()
    found = create_app(others).test_client().get(f"/jobs/{job_id}").get_json()
    assert found["status"] == "failed"
    for each in (cancelled, found):
        assert (each["progressPercent"], each["downloadedBytes"], each["totalBytes"]) == (40, 400, 1000)


def test_cancel_of_a_done_job(client, own_rows):
    assert is_error(client.post(f"/jobs/{own_rows.done()}/cancel"), 409, "not_cancellable")


def test_delete_removes_everything(client, parts, own_rows):
    job_id = own_rows.done()
    own_rows.sidecar(job_id, "clip.en.vtt", b"WEBVTT")
    work: Path = parts.settings.jobs_dir / job_id / "deep"
    work.mkdir(parents=True)
    (work / "video.part").write_bytes(b"x")
    answer = client.delete(f"/jobs/{job_id}")
    assert (answer.status_code, answer.data) == (204, b"")
    assert [*parts.settings.jobs_dir.iterdir()] == [*parts.settings.artifacts_dir.iterdir()] == []
    assert is_error(client.get(f"/jobs/{job_id}"), 404, "not_found")
    assert is_error(client.delete(f"/jobs/{job_id}"), 404, "not_found")


@pytest.mark.parametrize("status", ["queued", "running"])
def test_delete_of_an_unfinished_job(client, own_rows, status):
    assert is_error(client.delete(f"/jobs/{own_rows.job(status=status)}"), 409, "running")


@pytest.mark.parametrize(
    "path",
    [
        "/", "/jobs/", "//jobs", "/jobs/x/", "/jobs/x/y", "/nowhere", "/jobs/../etc/passwd", "/jobs/%2e%2e%2fetc/artifact",
        "/jobs/..", "/jobs/.", "/jobs/a%00b", "/jobs/%00/events", "/jobs/a%0d%0aX/artifact", "/jobs/" + "a" * 65,
        "/jobs/%C3%A4", "/jobs/abc", "/jobs/abc/artifact", "/jobs/abc/events", "/jobs/abc/files/x", "/jobs/'%3b--",
        "/jobs/abc/files/..%2f..%2fsecret.key", "/jobs/abc/artifact/..",
    ],
)  # fmt: skip
def test_what_is_not_there(client, path):
    assert is_error(client.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/jobs", {"POST", "OPTIONS"}),
        ("GET", "/jobs", {"POST", "OPTIONS"}),
        ("POST", "/jobs/abc", {"GET", "HEAD", "DELETE", "OPTIONS"}),
        ("POST", "/jobs/abc/events", {"GET", "HEAD", "OPTIONS"}),
        ("DELETE", "/jobs/abc/artifact", {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/jobs/abc/cancel", {"POST", "OPTIONS"}),
        ("PATCH", "/health", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_wrong_methods(client, method, path, allowed):
    answer = client.open(path, method=method)
    assert is_error(answer, 405, "method_not_allowed")
    assert {word.strip() for word in answer.headers["Allow"].split(",")} == allowed


@pytest.mark.parametrize("path", ["/jobs", "/jobs/abc", "/jobs/abc/artifact", "/health", "/docs"])
def test_which_methods_there_are_is_an_answer_without_a_body(client, path):
    answer = client.options(path)
    assert (answer.status_code, answer.data, answer.headers.get("Content-Type")) == (200, b"", None)
    assert "OPTIONS" in answer.headers["Allow"]


def test_a_bug_is_a_plain_500(client, parts, monkeypatch):
    def broken(job_id: str) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(parts.store, "job", broken)
    answer = client.get("/jobs/abc")
    assert is_error(answer, 500, "internal_error")
    assert "secret" not in answer.text


def test_an_error_says_nothing_of_the_database(client, parts, monkeypatch):
    def away(job_id: str) -> None:
        raise StoreUnavailable('Postgres cannot be used: connection to server at "db" failed')

    monkeypatch.setattr(parts.store, "job", away)
    assert '"db"' not in client.get("/jobs/abc").text


def test_answers_are_not_cached(client, own_rows):
    assert client.get(f"/jobs/{own_rows.job()}").headers["Cache-Control"] == "no-store"


def test_parts_are_what_they_say(parts: Parts, make_parts: Callable[..., Parts]):
    assert isinstance(parts.store, Store)
    assert isinstance(parts.broker, Broker)
    assert make_parts().vault.open(parts.vault.seal("x")) == "x"
