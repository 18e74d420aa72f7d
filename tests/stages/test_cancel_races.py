"""A cancel at each boundary of each step: it wins or it comes too late, never both; a done job keeps its file."""

import os

import pytest

from downloader.artifacts import open_store
from downloader.handoff import Muxed, MuxedFile
from downloader.job import Artifact
from downloader.route import ROUTE
from downloader.states import Status
from downloader.store import NotCancellable
from downloader.sweep import Sweep
from stages.contract import StepResult
from stages.publish import PublishStage
from tests.stages.conftest import FunctionStage
from tests.stages.driving import PLAN

POINTS = ("read", "claimed", "running", "ran", "committed", "added", "acked")
RACES = [(step, point) for step in ROUTE for point in POINTS] + [("publish", "placed")]
TOO_LATE = {("publish", point) for point in ("committed", "added", "acked")}
FILE = MuxedFile(path="mux-1.mp4", name="A.mp4", size=5, content_type="video/mp4")


class Race:
    """A job on its way through every stage, and one who cancels it when it comes to a point."""

    def __init__(self, house, step, point):
        self.house = house
        self.at = step, point
        self.step = ""
        self.cancelled = None
        self.job_id = house.post()
        self.publish = PublishStage(house.settings)

    def reach(self, point):
        if (self.step, point) != self.at or self.cancelled is not None:
            return
        try:
            self.house.store.cancel(self.job_id)
            self.cancelled = True
        except NotCancellable:
            self.cancelled = False

    def work(self, step):
        """What each stage does; the last one really publishes."""
        self.reach("running")
        if step.name == "publish":
            return self.publish.run(step)
        if step.name == "mux":
            (step.work / FILE.path).write_bytes(b"media")
            return StepResult(outputs=Muxed(main=FILE))
        return StepResult(outputs=PLAN)

    def settle(self, settle):
        """A broker's settle that passes a point between adding and acknowledging."""

        def watched(done, *, add=(), ended=False):
            if add:
                self.house.broker.add(add)
            self.reach("added")
            settle(done, add=(), ended=ended)

        return watched

    def run(self):
        for self.step in ROUTE:
            if delivery := self.house.deliver(ROUTE[self.step].stage):
                runner = self.house.runner(boundary=lambda point, _claim: self.reach(point))
                runner._stage = FunctionStage(self.work)
                runner.run(delivery, "w/0")


@pytest.mark.parametrize(("step", "point"), RACES, ids=lambda value: value)
def test_a_cancel_wins_or_comes_too_late(house, monkeypatch, step, point):
    race = Race(house, step, point)
    link = os.link
    monkeypatch.setattr(os, "link", lambda source, target: (link(source, target), race.reach("placed")))
    monkeypatch.setattr(house.broker, "settle", race.settle(house.broker.settle))
    race.run()
    job = house.store.job(race.job_id)
    assert race.cancelled is ((step, point) not in TOO_LATE)
    if race.cancelled:
        assert (job.status, job.error_code, job.artifact) == (Status.FAILED, "cancelled", None)
    else:
        assert (job.status, job.error_code) == (Status.DONE, None)
    sweep = Sweep(house.settings, house.store, open_store(house.settings), house.clock)
    sweep.everything()
    found = [path for path in house.settings.artifacts_dir.rglob("*") if path.is_file()]
    assert len(found) == (0 if race.cancelled else 1)
    if not race.cancelled:
        assert isinstance(job.artifact, Artifact)
        assert found[0].read_bytes() == b"media"
    assert not (house.settings.jobs_dir / race.job_id).exists()
    states = house.store.db.rows(
        "SELECT DISTINCT state FROM downloader_steps WHERE state IN ('ready', 'running', 'waiting')"
    )
    assert states == []
    assert all(not house.broker.entries(stage) for stage in ("resolve", "fetch", "mux", "publish"))
