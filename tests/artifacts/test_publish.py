"""The publish stage over both stores: what it returns, twice the same, and what it does when its input is not whole."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from downloader.artifacts import open_store
from downloader.clock import SystemClock
from downloader.config import Settings
from downloader.errors import Cancelled, StorageFailed
from downloader.handoff import Muxed, MuxedFile, Published
from downloader.job import Job, Options
from downloader.states import Stage, Status
from stages.contract import StepContext
from stages.publish import PublishStage
from tests.artifacts.conftest import JOB

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
MAIN, SUBTITLES = b"media" * 1000, b"1\n00:00:00,000 --> 00:00:01,000\nhello\n"


class FixedClock(SystemClock):
    def now(self) -> datetime:
        return NOW


@pytest.fixture(params=["local", "s3"])
def settings(request: pytest.FixtureRequest) -> Settings:
    found: Settings = request.getfixturevalue(f"{request.param}_settings")
    return found


@pytest.fixture
def muxed(settings: Settings) -> Muxed:
    work = settings.jobs_dir / JOB
    (work / "out").mkdir(parents=True)
    (work / "out" / "out.1.mp4").write_bytes(MAIN)
    (work / "sub-en.srt").write_bytes(SUBTITLES)
    return Muxed(
        main=MuxedFile(path="out/out.1.mp4", name="Tïtle.mp4", size=len(MAIN), content_type="video/mp4"),
        sidecars=(
            MuxedFile(path="sub-en.srt", name="Tïtle.en.srt", size=len(SUBTITLES), content_type="application/x-subrip"),
        ),
    )


def step(settings: Settings, muxed: Muxed, epoch: int = 1, **changed: Any) -> StepContext:
    job = Job(
        id=JOB,
        cache_key="key",
        url="https://example.com/",
        options=Options(),
        status=Status.RUNNING,
        stage=Stage.MUX,
        queued_at=NOW,
    )
    context = StepContext(
        job=job,
        name="publish",
        epoch=epoch,
        attempt=1,
        inputs={"mux": msgspec.to_builtins(muxed)},
        work=settings.jobs_dir / JOB,
        settings=settings,
        clock=FixedClock(),
        authorization=None,
        progress=lambda _done, _total: None,
        check=lambda: None,
        reserve=lambda _bytes: None,
    )
    return replace(context, **changed)


@pytest.fixture
def stage(settings: Settings) -> Any:
    stage = PublishStage(settings)
    yield stage
    stage.close()
    store = open_store(settings)
    store.delete_job(JOB)
    store.close()


def test_everything_is_published(settings: Settings, stage: PublishStage, muxed: Muxed) -> None:
    seen: list[tuple[int, int]] = []
    result = stage.run(step(settings, muxed, progress=lambda done, total: seen.append((done, total))))
    assert result.artifact is not None
    assert (result.artifact.name, result.artifact.size) == ("Tïtle.mp4", len(MAIN))
    (sidecar,) = result.sidecars
    assert (sidecar.name, sidecar.size, sidecar.content_type) == (
        "Tïtle.en.srt",
        len(SUBTITLES),
        "application/x-subrip",
    )
    assert result.outputs == Published(artifact=result.artifact, sidecars=result.sidecars)
    total = len(MAIN) + len(SUBTITLES)
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)
    assert result.fields["bytes"] == total
    store = open_store(settings)
    assert store.head(result.artifact)
    assert store.head(sidecar)
    store.close()


def test_twice_gives_the_same(settings: Settings, stage: PublishStage, muxed: Muxed) -> None:
    assert stage.run(step(settings, muxed)).outputs == stage.run(step(settings, muxed, epoch=2)).outputs


@pytest.mark.parametrize("ttl", [0, 60, None])
def test_an_artifact_lives_as_long_as_it_should(
    settings: Settings, stage: PublishStage, muxed: Muxed, ttl: int | None
) -> None:
    changed = replace(settings, artifact_ttl_seconds=ttl)
    artifact = stage.run(step(changed, muxed)).artifact
    assert artifact is not None
    seconds = ttl if ttl is not None else (7200 if settings.storage == "s3" else 0)
    assert artifact.expires_at == (NOW + timedelta(seconds=seconds) if seconds else None)


def test_a_cancel_publishes_nothing(settings: Settings, stage: PublishStage, muxed: Muxed) -> None:
    def check() -> None:
        raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        stage.run(step(settings, muxed, check=check))
    store = open_store(settings)
    assert store.delete_job(JOB) == 0
    store.close()


def _escape(settings: Settings, muxed: Muxed) -> Muxed:
    (settings.data_dir / "secret").write_bytes(MAIN)
    return msgspec.structs.replace(muxed, main=msgspec.structs.replace(muxed.main, path="../../secret"))


def _link(settings: Settings, muxed: Muxed) -> Muxed:
    (settings.data_dir / "secret").write_bytes(MAIN)
    path = settings.jobs_dir / JOB / muxed.main.path
    path.unlink()
    path.symlink_to(settings.data_dir / "secret")
    return muxed


def _short(settings: Settings, muxed: Muxed) -> Muxed:
    (settings.jobs_dir / JOB / muxed.main.path).write_bytes(MAIN[:-1])
    return muxed


def _gone(settings: Settings, muxed: Muxed) -> Muxed:
    (settings.jobs_dir / JOB / muxed.main.path).unlink()
    return muxed


@pytest.mark.parametrize("spoil", [_escape, _link, _short, _gone])
def test_what_mux_did_not_leave_is_not_published(
    settings: Settings, stage: PublishStage, muxed: Muxed, spoil: Callable[[Settings, Muxed], Muxed]
) -> None:
    with pytest.raises(StorageFailed):
        stage.run(step(settings, spoil(settings, muxed)))
    store = open_store(settings)
    main = f"artifacts/{JOB}/{muxed.main.name}"
    kept = msgspec.structs.replace(stage.run(step(settings, _whole(settings, muxed))).artifact, locator=main)
    info = store.head(kept)
    assert info is not None
    assert info.size == len(MAIN)
    store.close()


def _whole(settings: Settings, muxed: Muxed) -> Muxed:
    path: Path = settings.jobs_dir / JOB / muxed.main.path
    path.unlink(missing_ok=True)
    path.write_bytes(MAIN)
    return muxed
