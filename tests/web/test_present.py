"""A job as clients see it."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from downloader.job import Artifact, Job, Options, Progress, Resolved, Sidecar
from downloader.states import Stage, Status
from web.present import Presenter

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FILE = Artifact(storage="local", locator="artifacts/a/x", name="x", size=1, content_type="video/mp4")


class StoppedClock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


@pytest.fixture
def presenter() -> Presenter:
    return Presenter("https://host/api", StoppedClock())


def job(status: Status = Status.RUNNING, stage: Stage = Stage.DOWNLOAD, **fields: object) -> Job:
    values = {"queued_at": NOW - timedelta(seconds=9), "started_at": NOW - timedelta(seconds=7)} | fields
    return Job(id="a", cache_key="k", url="https://u", options=Options(), status=status, stage=stage, **values)


def live(percent: float, stage: Stage = Stage.DOWNLOAD, **fields: int) -> Progress:
    values = {"downloaded_bytes": 50, "total_bytes": 100} | fields
    return Progress(stage=stage, progress_percent=percent, **values)


def test_a_queued_job(presenter):
    assert presenter.job(job(Status.QUEUED, Stage.QUEUED, started_at=None)) == {
        "id": "a",
        "url": "https://u",
        "status": "queued",
        "stage": "queued",
        "progressPercent": 0,
        "downloadedBytes": 0,
        "queuedAt": "2026-01-02T03:03:56.000Z",
        "queueWaitMs": 9000,
    }


def test_progress_lies_over_the_row(presenter):
    row = job(progress_percent=2.0, downloaded_bytes=7, total_bytes=90)
    found = presenter.job(row, live(41.26, speed_bytes_per_second=8, eta_seconds=6))
    assert found["progressPercent"] == 41
    assert (found["downloadedBytes"], found["totalBytes"], found["speedBytesPerSecond"], found["etaSeconds"]) == (
        50,
        100,
        8,
        6,
    )
    assert (found["queueWaitMs"], found["runTimeMs"]) == (2000, 7000)


def test_progress_of_a_stage_gone_by_is_dropped(presenter):
    found = presenter.job(job(stage=Stage.MUX, progress_percent=80), live(60))
    assert (found["stage"], found["progressPercent"]) == ("mux", 80)
    assert "speedBytesPerSecond" not in found


def test_progress_leads_the_row_into_the_next_stage(presenter):
    assert presenter.job(job(stage=Stage.EXTRACT), live(3))["stage"] == "download"


def test_percent_never_falls_and_is_100_only_when_done(presenter):
    assert presenter.job(job(), live(70))["progressPercent"] == 70
    assert presenter.job(job(), live(30))["progressPercent"] == 70
    assert presenter.job(job())["progressPercent"] == 70
    assert presenter.job(job(), live(100))["progressPercent"] == 99
    failed = job(Status.FAILED, finished_at=NOW, error="The job was cancelled.", error_code="cancelled")
    assert presenter.job(failed)["progressPercent"] == 99
    assert presenter.job(job(Status.DONE, Stage.DONE, finished_at=NOW))["progressPercent"] == 100


def test_a_failed_job_stands_where_its_last_progress_was(presenter):
    failed = job(Status.FAILED, finished_at=NOW, error_code="cancelled", progress_percent=2.0)
    found = presenter.job(failed, live(41.2, speed_bytes_per_second=8, eta_seconds=6))
    assert found["progressPercent"] == 41
    assert (found["downloadedBytes"], found["totalBytes"]) == (50, 100)
    assert not found.keys() & {"speedBytesPerSecond", "etaSeconds"}


@pytest.mark.parametrize("percent", [0.0, 0.9, 5.6, 41.999, 99.95, 100.0])
def test_percent_is_a_whole_number_that_is_not_ahead(presenter, percent):
    # The Android app takes a number with a point, 5.0 as well, for no answer at all.
    row = job(progress_percent=percent)
    failed = job(Status.FAILED, finished_at=NOW, progress_percent=percent)
    for shown in (presenter.job(row), presenter.job(job(), live(percent)), presenter.job(failed)):
        assert json.dumps(shown["progressPercent"]) == str(min(int(percent), 99))
    done = presenter.job(job(Status.DONE, Stage.DONE, finished_at=NOW, progress_percent=100.0))
    assert json.dumps(done["progressPercent"]) == "100"


def test_percent_of_a_retried_job_begins_anew_also_when_nobody_saw_it_queued(presenter):
    assert presenter.job(job(), live(70))["progressPercent"] == 70
    assert presenter.job(job(queued_at=NOW), live(5))["progressPercent"] == 5


def test_remembers_only_so_many(presenter):
    for number in range(5000):
        presenter.job(
            Job(**{name: getattr(job(), name) for name in Job.__struct_fields__} | {"id": str(number)}), live(9)
        )
    assert len(presenter._highest) == 4096


def test_a_done_job(presenter):
    found = presenter.job(
        job(
            Status.DONE,
            Stage.DONE,
            finished_at=NOW,
            title="Ä",
            duration_ms=60000,
            resolved=Resolved(video_itag=137, height=1080, file_name="Ä.mp4"),
            artifact=Artifact(
                **{name: getattr(FILE, name) for name in FILE.__struct_fields__} | {"expires_at": NOW + timedelta(1)}
            ),
            sidecars=(Sidecar("ä b.srt", "artifacts/a/ä b.srt"),),
            warnings=("no such language: xx",),
            download_ms=1,
            mux_ms=2,
            upload_ms=3,
            total_ms=4,
        ),
        live(50),
    )
    assert found == {
        "id": "a",
        "url": "https://u",
        "status": "done",
        "stage": "done",
        "title": "Ä",
        "durationMs": 60000,
        "resolved": {"videoItag": "137", "height": 1080, "fileName": "Ä.mp4"},
        "warnings": ["no such language: xx"],
        "progressPercent": 100,
        "downloadedBytes": 0,
        "queuedAt": "2026-01-02T03:03:56.000Z",
        "startedAt": "2026-01-02T03:03:58.000Z",
        "finishedAt": "2026-01-02T03:04:05.000Z",
        "queueWaitMs": 2000,
        "runTimeMs": 7000,
        "downloadMs": 1,
        "muxMs": 2,
        "uploadMs": 3,
        "totalMs": 4,
        "artifactUrl": "https://host/api/jobs/a/artifact",
        "artifactExpiresAt": "2026-01-03T03:04:05.000Z",
        "sidecars": [{"name": "ä b.srt", "url": "https://host/api/jobs/a/files/%C3%A4%20b.srt"}],
    }


@pytest.mark.parametrize(
    ("fields", "expired"),
    [({}, False), ({"artifact_expires_at": NOW}, True), ({"artifact_expires_at": NOW + timedelta(1)}, False)],
)
def test_a_done_job_without_its_file(presenter, fields, expired):
    done = job(Status.DONE, Stage.DONE, finished_at=NOW, **fields)
    assert "artifactUrl" not in presenter.job(done)
    assert presenter.standing(done) is None
    assert presenter.expired(done) is expired
