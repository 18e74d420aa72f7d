"""The figures for Prometheus: what they say is what the database holds, and they come whatever is away."""

import json
import time

import gevent
import pytest
from prometheus_client.parser import text_string_to_metric_families

from downloader import __version__, errors
from downloader.route import JANITOR, stage_names
from downloader.store import Census
from tests.web.test_health import all_live, silent_port
from web.app import create_app
from web.exposition import Exposition, render
from web.gauges import GAUGES
from web.reading import Reading

__all__ = ["silent_port"]

SECRET = "s3cret"


def figures(text: str) -> dict[tuple[str, ...], float]:
    """Every sample, by its name and its labels' values in the order of their names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(client) -> dict[tuple[str, ...], float]:
    answer = client.get("/metrics")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return figures(answer.text)


def test_an_empty_service_has_every_figure(client, parts):
    all_live(parts)
    found = scraped(client)
    assert {name for name, *_ in found} == {gauge.name for gauge in GAUGES}
    assert found["downloader_build_info", "unknown", __version__] == 1
    assert [found["downloader_part_up", part] for part in ("postgres", "redis", "disk")] == [1, 1, 1]
    assert {stage: found["downloader_slots", stage] for stage in (*stage_names(), JANITOR)} == dict.fromkeys(
        (*stage_names(), JANITOR), 2
    )
    assert found["downloader_jobs_limit",] == 102
    assert found["downloader_disk_size_bytes",] > found["downloader_disk_free_bytes",] > 0
    assert found["downloader_disk_required_bytes",] == 0
    counts = ("downloader_jobs", "downloader_jobs_failed", "downloader_steps", "downloader_callbacks_due")
    assert {found[key] for key in found if key[0] in counts} == {0}
    assert {key[1] for key in found if key[0] == "downloader_jobs_failed"} == {*errors.endings(), "other"}


def test_jobs_and_steps_are_counted(client, parts, own_rows):
    for number in range(3):
        job_id = client.post("/jobs", json={"url": f"https://example.com/{number}"}).get_json()["id"]
    client.post(f"/jobs/{job_id}/cancel")
    own_rows.done()
    for code in ("no_stream", "no_stream", None, "of an older service"):
        own_rows.job(status="failed", error_code=code)
    own_rows.run("UPDATE downloader_steps SET ready_at = now() - interval '1 minute'")
    own_rows.run(
        "INSERT INTO downloader_reservations (job_id, volume, bytes)"
        " SELECT id, 'any', 7 FROM downloader_jobs WHERE status = 'queued'"
    )
    found = scraped(client)
    jobs = {status: found["downloader_jobs", status] for status in ("queued", "running", "done", "failed")}
    assert jobs == {"queued": 2, "running": 0, "done": 1, "failed": 5}
    failed = {key[1]: value for key, value in found.items() if key[0] == "downloader_jobs_failed" and value}
    assert failed == {"cancelled": 1, "no_stream": 2, "other": 2}
    first, *others = stage_names()
    assert found["downloader_steps", first, "ready"] == 2
    assert 60 <= found["downloader_oldest_ready_seconds", first] < 90
    assert {found["downloader_steps", stage, "waiting"] for stage in others} == {2}
    assert {found["downloader_steps", stage, "running"] for stage in stage_names()} == {0}
    assert found["downloader_reserved_bytes",] == 14


def test_callbacks_that_are_due(client, parts, own_rows):
    job_id = own_rows.job(options=json.dumps({"callbackUrl": "http://a/"}))
    client.post(f"/jobs/{job_id}/cancel")
    assert scraped(client)["downloader_callbacks_due",] == 1


def test_nothing_of_a_job_is_in_it(client, own_rows):
    own_rows.done(url=f"https://{SECRET}/", title=SECRET, request_id=SECRET, cache_key=SECRET)
    own_rows.job(status="failed", error=SECRET, error_code=SECRET)
    text = client.get("/metrics").text
    assert SECRET not in text
    assert not [row[0] for row in own_rows.run("SELECT id FROM downloader_jobs") if row[0] in text]


def test_what_is_away_is_said(make_parts):
    nowhere = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1/0"}
    found = scraped(create_app(make_parts(**nowhere)).test_client())
    assert [found["downloader_part_up", part] for part in ("postgres", "redis", "disk")] == [0, 0, 1]
    assert {name for name, *_ in found} == {
        "downloader_build_info", "downloader_part_up", "downloader_jobs_limit",
        "downloader_disk_size_bytes", "downloader_disk_free_bytes", "downloader_disk_required_bytes",
    }  # fmt: skip


def test_within_three_seconds_whatever_hangs_and_others_are_served_meanwhile(serve, silent_port):
    silent = f"127.0.0.1:{silent_port}"
    server = serve(DATABASE_URL=f"postgresql://nobody@{silent}/none", REDIS_URL=f"redis://{silent}/0")
    began = time.monotonic()
    asked = server.connect()
    asked.request("GET", "/metrics")
    assert server.get("/health")[0] == 200
    assert time.monotonic() - began < 2
    answer = asked.getresponse()
    found = figures(answer.read().decode())
    asked.close()
    assert time.monotonic() - began < 3
    assert answer.status == 200
    assert [found["downloader_part_up", part] for part in ("postgres", "redis", "disk")] == [0, 0, 1]


def test_every_process_says_the_same(serve, own_rows):
    first, second = serve(), serve()
    own_rows.job(status="failed", error_code="no_stream")
    for _ in range(3):
        first.post("/jobs", {"url": "https://example.com/v"})
    texts = [server.get("/metrics")[2].decode() for server in (first, second)]
    found = [
        {
            key: value
            for key, value in figures(text).items()
            if not key[0].startswith(("downloader_disk", "downloader_old"))
        }
        for text in texts
    ]
    assert found[0] == found[1]
    assert (found[0]["downloader_jobs", "queued"], found[0]["downloader_jobs_failed", "no_stream"]) == (1, 1)


class Clock:
    """A clock that moves when told."""

    time = 100.0

    def monotonic(self) -> float:
        return self.time


@pytest.fixture
def counted():
    """A reading that takes as long as others need to ask, and how often it was made."""
    made = []

    def read() -> Reading:
        gevent.sleep(0)
        made.append(len(made))
        return Reading(limit=len(made))

    clock = Clock()
    return Exposition(read, clock), clock, made


def test_a_storm_of_scrapes_is_one_reading_a_second(counted):
    exposition, clock, made = counted
    scrapes = [gevent.spawn(exposition.text) for _ in range(50)]
    gevent.joinall(scrapes)
    assert len(made) == 1
    assert len({scrape.value for scrape in scrapes}) == 1
    clock.time += 0.9
    exposition.text()
    assert len(made) == 1
    clock.time += 0.2
    assert b"downloader_jobs_limit 2.0" in exposition.text()


def test_a_reading_that_fails_is_made_again():
    def read() -> Reading:
        raise RuntimeError

    exposition = Exposition(read, Clock())
    for _ in range(2):
        with pytest.raises(RuntimeError):
            exposition.text()


def test_an_unknown_code_is_no_label():
    reading = Reading(limit=1, census=Census({}, {'x"\n} 1': 3, "poisoned": 2}, {}, 0, 0))
    found = figures(render(reading).decode())
    assert found["downloader_jobs_failed", "other"] == 3
    assert found["downloader_jobs_failed", "poisoned"] == 2
