"""One engine for the session, and a job to run through the stage."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from downloader.clock import SystemClock
from downloader.config import Settings
from downloader.handoff import Fetched, FetchedTrack, Media, Muxed, Plan, Track
from downloader.job import Job, Options, Resolved
from downloader.mux.engine import Engine
from downloader.states import Stage, Status
from stages.contract import StepContext, StepResult
from stages.mux import MuxStage

FORMATS = {
    ".mp4": "mp4",
    ".m4a": "mp4",
    ".webm": "webm",
    ".mkv": "webm",
    ".ts": "mpegts",
    ".ogg": "ogg",
    ".mp3": "mp3",
    ".flv": "flv",
}


def fetched(path: Path, kind: str, **fields: Any) -> FetchedTrack:
    """A track that lies at ``path``, as fetch hands it over."""
    found = FORMATS.get(path.suffix, "image" if kind == "image" else "text")
    known = {"format": found, "transport": "ranges"}
    track = Track(key=path.stem, kind=kind, url="http://media.test/x", **{**known, **fields})
    return FetchedTrack(track=track, path=path.name, size=path.stat().st_size, format=track.format)


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MuxStage]:
    # The folder of all jobs is the folder of all tests: each works in its own tmp_path.
    folder = tmp_path_factory.getbasetemp()
    (folder / "jobs").symlink_to(folder)
    made = MuxStage(Settings(data_dir=folder))
    yield made
    made.close()


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    made = Engine(stall_seconds=5, wall_seconds=30)
    yield made
    made.close()


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., StepContext]:
    def make(
        media: Media, *tracks: FetchedTrack, check: Callable[[], None] = lambda: None, epoch: int = 1, **seen: Any
    ) -> StepContext:
        plan = Plan(tracks=tuple(t.track for t in tracks), media=media, resolved=Resolved(), title=media.title)
        job = Job(
            id="0" * 24,
            cache_key="",
            url="http://media.test/watch",
            options=Options(),
            status=Status.RUNNING,
            stage=Stage.MUX,
            queued_at=datetime.now(UTC),
        )
        return StepContext(
            job=job,
            name="mux",
            epoch=epoch,
            attempt=1,
            inputs={"resolve": msgspec.to_builtins(plan), "fetch": msgspec.to_builtins(Fetched(tracks=tracks))},
            work=tmp_path,
            settings=Settings(),
            clock=SystemClock(),
            authorization=None,
            progress=seen.get("progress", lambda done, total: None),
            check=check,
            reserve=lambda amount: None,
        )

    return make


@pytest.fixture
def mux(stage: MuxStage, context: Callable[..., StepContext]) -> Callable[..., Muxed]:
    """Run tracks through the stage: ``mux(media, *tracks)`` gives what it hands to publish."""

    def run(media: Media, *tracks: FetchedTrack, **fields: Any) -> Muxed:
        result: StepResult = stage.run(context(media, *tracks, **fields))
        assert isinstance(result.outputs, Muxed)
        return result.outputs

    return run
