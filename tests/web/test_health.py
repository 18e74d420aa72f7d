"""The health page: every part named, and never later than three seconds."""

import json
import socket
import time
from importlib.resources import files

import msgspec
import pytest

from downloader import __version__
from downloader.route import JANITOR, stage_names
from web import health
from web.app import create_app
from web.buildnote import Build


def test_health(client):
    assert client.get("/health").get_json() == {"status": "ok", "service": "typetype-downloader"}


def test_version(client):
    assert client.get("/version").get_json() == {
        "service": "typetype-downloader",
        "version": __version__,
        "revision": "unknown",
        "buildTime": "unknown",
    }


def test_version_of_a_packaged_build(client, monkeypatch):
    note = {"revision": "abc123", "buildTime": "2026-01-02T03:04:05Z"}
    monkeypatch.setattr(health, "build", lambda: msgspec.convert(note, Build))
    assert client.get("/version").get_json().items() >= note.items()
    assert not (files("downloader") / "_build.json").is_file()


def all_live(parts):
    for stage in (*stage_names(), JANITOR):
        parts.store.here(f"{stage}-1", stage, 2)


def test_all_well(client, parts):
    all_live(parts)
    answer = client.get("/health/deep")
    assert answer.status_code == 200, answer.text
    parts_of_it = ["service", "postgres", "dragonfly", "artifact", "disk", "stages", "janitor"]
    assert answer.get_json() == {
        "status": "ok",
        "checks": dict.fromkeys(parts_of_it, "ok"),
        "workers": dict.fromkeys([*stage_names(), "janitor"], 2),
        "queues": {stage: {"ready": 0, "running": 0, "oldestSeconds": 0} for stage in stage_names()},
    }


def test_a_queue_is_no_trouble_while_somebody_works_on_it(client, parts):
    all_live(parts)
    for number in range(3):
        client.post("/jobs", json={"url": f"https://example.com/{number}"})
    parts.store.db.rows("UPDATE downloader_steps SET ready_at = now() - interval '1 minute' RETURNING 1")
    answer = client.get("/health/deep")
    assert answer.status_code == 200
    queue = answer.get_json()["queues"][stage_names()[0]]
    assert queue.pop("oldestSeconds") >= 60
    assert queue == {"ready": 3, "running": 0}


def test_a_stuck_stage_is_named(client, parts):
    all_live(parts)
    stage = stage_names()[0]
    parts.store.leave(f"{stage}-1")
    assert client.get("/health/deep").get_json()["checks"]["stages"] == f"{stage}: no worker lives"
    client.post("/jobs", json={"url": "https://example.com/v"})
    parts.store.db.rows("UPDATE downloader_steps SET ready_at = now() - interval '1 minute' RETURNING 1")
    answer = client.get("/health/deep")
    assert answer.status_code == 503
    assert answer.get_json()["checks"]["stages"].startswith(
        f"{stage}: no worker lives and 1 steps wait, the oldest for 6"
    )


def test_a_dead_janitor_is_told(client, parts):
    all_live(parts)
    old = "UPDATE downloader_workers SET seen_at = now() - interval '2 minutes' WHERE stage = 'janitor' RETURNING id"
    assert parts.store.db.rows(old)
    answer = client.get("/health/deep")
    assert answer.status_code == 503
    checks = answer.get_json()["checks"]
    assert checks.pop("janitor").startswith("no janitor lives")
    assert set(checks.values()) == {"ok"}


def test_each_part_that_is_away_is_named(make_parts):
    nowhere = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1/0"}
    answer = create_app(make_parts(STORAGE_MIN_FREE_BYTES=str(1 << 60), **nowhere)).test_client().get("/health/deep")
    checks = answer.get_json()["checks"]
    assert (answer.status_code, checks["postgres"], checks["dragonfly"], checks["artifact"]) == (
        503,
        "cannot be used; the log says why",
        "cannot be used; the log says why",
        "ok",
    )
    assert checks["disk"].startswith("low: ")
    assert "nobody" not in json.dumps(checks)


def test_a_database_without_tables_is_said(make_parts, empty_database_url):
    client = create_app(make_parts(DATABASE_URL=empty_database_url)).test_client()
    sentence = "The database has no tables yet, or old ones. Run `downloader migrate`."
    answer = client.get("/health/deep")
    checks = answer.get_json()["checks"]
    assert (answer.status_code, checks["stages"], checks["janitor"]) == (503, sentence, sentence)
    answer = client.get("/jobs/0123456789abcdef")
    assert (answer.status_code, answer.get_json()["error"]) == (503, sentence)
    assert answer.get_json()["errorCode"] == "store_unavailable"
    assert int(answer.headers["Retry-After"]) > 0


@pytest.fixture
def silent_port():
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


def test_within_three_seconds_whatever_hangs(serve, silent_port):
    silent = f"127.0.0.1:{silent_port}"
    server = serve(DATABASE_URL=f"postgresql://nobody@{silent}/none", REDIS_URL=f"redis://{silent}/0")
    began = time.monotonic()
    status, _, body = server.get("/health/deep")
    assert time.monotonic() - began < 3
    assert status == 503
    assert json.loads(body)["checks"]["postgres"] == "did not answer within 2.5 s"
    assert json.loads(body)["checks"]["artifact"] == "ok"


def test_a_postgres_that_never_answers_is_a_503_before_the_gateway_gives_up(serve, silent_port):
    server = serve(DATABASE_URL=f"postgresql://nobody@127.0.0.1:{silent_port}/none")
    began = time.monotonic()
    status, headers, body = server.get("/jobs/0123456789abcdef")
    assert time.monotonic() - began < 10
    assert (status, json.loads(body)["errorCode"]) == (503, "store_unavailable")
    assert int(headers["Retry-After"]) > 0
    assert server.get("/health")[0] == 200
