"""The stage against the stand-in, which answers with real media."""

import subprocess
import sys

import msgspec
import pytest

from downloader.config import Settings
from downloader.errors import ExtractionFailed, MediaTooLarge, NoStream, UpstreamUnavailable
from downloader.handoff import Plan
from downloader.job import Options
from stages.resolve import ResolveStage
from tests.standin.server import StandIn
from tests.typetype.jobs import job, step


@pytest.fixture(scope="module")
def standin(tmp_path_factory):
    with StandIn(tmp_path_factory.mktemp("media")) as running:
        yield running


@pytest.fixture
def settings(standin):
    return Settings(typetype_api_base=standin.base)


@pytest.fixture
def stage(settings):
    made = ResolveStage(settings)
    yield made
    made.close()


def test_a_plan_for_a_real_source(stage, settings, standin):
    reserved: list[int] = []
    of = job(standin.source("small", 7))
    result = stage.run(step(of, settings, reserve=reserved.append, authorization="Bearer secret"))
    plan = result.outputs
    assert isinstance(plan, Plan)
    assert [track.key for track in plan.tracks] == ["video", "audio"]
    assert (result.title, result.duration_ms) == ("A small one", 5_600)
    assert result.resolved.file_name == "A small one.mp4"
    assert result.total_bytes == sum(track.size for track in plan.tracks)
    assert plan.reserve_bytes == int(2.1 * result.total_bytes)
    assert reserved == [], "a job that only waits for its fetch holds no disk"
    assert standin.requests[-1].headers["authorization"] == "Bearer secret"
    assert standin.requests[-1].headers["x-request-id"] == "request-1"
    assert "secret" not in msgspec.json.encode(plan).decode()


def test_running_it_twice_gives_the_same(stage, settings, standin):
    of = job(standin.source("small"))
    assert stage.run(step(of, settings)) == stage.run(step(of, settings))


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("forbidden", ExtractionFailed, "This video is private."),
        ("missing", ExtractionFailed, "This video does not exist."),
        ("unsupported", ExtractionFailed, "This site is not supported."),
        ("broken", ExtractionFailed, "not JSON"),
        ("wild", ExtractionFailed, "unexpected shape"),
        ("empty", NoStream, "no streams"),
        ("picture", NoStream, "no streams"),
        ("down", UpstreamUnavailable, "status 503"),
    ],
)
def test_what_cannot_be_resolved(stage, standin, name, error, sentence):
    with pytest.raises(error, match=sentence):
        stage.run(step(job(standin.source(name)), Settings(typetype_api_base=standin.base)))


def test_comes_back_after_a_short_outage(stage, settings, standin):
    standin.flaky_times = 2
    assert stage.run(step(job(standin.source("flaky")), settings)).title == "A short one"


def test_a_thumbnail_job(stage, settings, standin):
    result = stage.run(step(job(standin.source("picture"), Options(mode="thumbnail")), settings))
    assert result.outputs.media.operation == "image"


def test_media_beyond_the_limit_is_refused_early(standin):
    tight = Settings(typetype_api_base=standin.base, media_max_bytes=1000)
    stage = ResolveStage(tight)
    with pytest.raises(MediaTooLarge, match="at most 1000"):
        stage.run(step(job(standin.source("small")), tight))
    stage.close()


def test_loads_neither_engine_nor_web():
    program = "import sys, stages.resolve; print([m for m in ('av', 'flask', 'gevent', 'boto3', 'redis') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
