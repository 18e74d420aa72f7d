"""The stage contract, for every stage that the route names, on real media."""

import time
from ipaddress import ip_network

import msgspec
import pytest

from downloader.clock import SystemClock
from downloader.config import Settings
from downloader.errors import Cancelled, Draining, LeaseLost
from downloader.job import Job, Options
from downloader.route import ROUTE
from downloader.states import Stage, Status
from stages.contract import StepContext, StepResult
from stages.worker import build
from tests.service import StandIn


@pytest.fixture(scope="module")
def standin(tmp_path_factory):
    made = StandIn(tmp_path_factory.getbasetemp().parent / "media")
    yield made
    made.close()


class Line:
    """The stages of the route side by side, each given what the ones before handed over."""

    def __init__(self, folder, source, base):
        self.settings = Settings(
            data_dir=folder,
            typetype_api_base=base,
            media_allow_networks=(ip_network("127.0.0.0/8"),),
            storage_min_free_bytes=0,
            storage_min_free_percent=0,
        )
        self.job = Job(
            id="a" * 32,
            cache_key="k",
            url=source,
            options=Options(),
            status=Status.RUNNING,
            stage=Stage.EXTRACT,
            queued_at=SystemClock().now(),
        )
        self.outputs = {}
        self.stages = {}
        self.told = []

    def stage(self, name):
        stage = ROUTE[name].stage
        if stage not in self.stages:
            self.stages[stage] = build(stage, self.settings)
        return self.stages[stage]

    def context(self, name, epoch=1, check=lambda: None):
        work = self.settings.jobs_dir / self.job.id
        work.mkdir(parents=True, exist_ok=True)
        return StepContext(
            job=self.job,
            name=name,
            epoch=epoch,
            attempt=epoch,
            inputs={need: self.outputs[need] for need in ROUTE[name].needs},
            work=work,
            settings=self.settings,
            clock=SystemClock(),
            authorization=None,
            progress=lambda done, total: self.told.append((name, done, total)),
            check=check,
            reserve=lambda _size: None,
        )

    def run(self, name, epoch=1):
        result = self.stage(name).run(self.context(name, epoch))
        assert isinstance(result, StepResult)
        return msgspec.json.decode(msgspec.json.encode(result.outputs))

    def run_before(self, name):
        for earlier in ROUTE:
            if earlier == name:
                return
            self.outputs[earlier] = self.run(earlier)

    def close(self):
        for stage in self.stages.values():
            stage.close()


@pytest.fixture
def line(tmp_path, standin):
    made = Line(tmp_path, standin.source("short"), standin.base)
    yield made
    made.close()


@pytest.mark.parametrize("name", list(ROUTE))
def test_running_a_step_twice_gives_the_same_outputs(line, name):
    line.run_before(name)
    first = line.run(name, epoch=1)
    second = line.run(name, epoch=2)
    assert without_epochs(first) == without_epochs(second)


@pytest.mark.parametrize("name", list(ROUTE))
@pytest.mark.parametrize("error", [Cancelled("c"), LeaseLost("l"), Draining("d")], ids=lambda e: e.code)
def test_what_check_raises_ends_the_step_within_a_second(line, name, error):
    line.run_before(name)

    def check():
        raise error

    started = time.monotonic()
    with pytest.raises(type(error)):
        line.stage(name).run(line.context(name, check=check))
    assert time.monotonic() - started < 1.0


@pytest.mark.parametrize("name", list(ROUTE))
def test_progress_stays_within_its_total(line, name):
    line.run_before(name)
    line.told.clear()
    line.run(name)
    assert all(0 <= done <= total for _, done, total in line.told if total)


def without_epochs(outputs):
    """Outputs but for what names the attempt: paths of work files carry the epoch, sizes of moved bytes vary."""
    if isinstance(outputs, dict):
        return {
            key: without_epochs(value)
            for key, value in outputs.items()
            if key not in ("path", "bytesMoved", "expiresAt")
        }
    return [without_epochs(item) for item in outputs] if isinstance(outputs, list) else outputs
