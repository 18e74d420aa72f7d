"""A job whose step died three times runs again from just there, on local disk and on a real S3 server."""

import shutil
import threading
from dataclasses import replace

import pytest

from downloader.again import run_again
from downloader.artifacts import open_store
from downloader.broker import Broker
from downloader.config import Settings
from downloader.handoff import Fetched, FetchedTrack, Muxed, MuxedFile, Track
from downloader.route import ROUTE
from downloader.states import Status
from downloader.store import Store
from stages import recovery
from stages.contract import StepResult
from stages.publish import PublishStage
from tests.stages.conftest import FakeClock, FunctionStage, House
from tests.stages.driving import PLAN, claim

TRACK = Track(key="video", kind="video", transport="ranges", url="https://example.test/v")
FILES = {"fetch": ("video.media", b"track"), "mux": ("mux-1.mp4", b"media")}


@pytest.fixture(params=["local", "s3"])
def house(request, database_url, redis_url, redis_prefix, tmp_path):
    settings = Settings(
        data_dir=tmp_path,
        database_url=database_url,
        redis_url=redis_url,
        redis_queue_key=redis_prefix,
        storage_min_free_bytes=0,
        storage_min_free_percent=0,
    )
    if request.param == "s3":
        to_s3 = request.getfixturevalue("s3_settings")
        names = ("s3_endpoint", "s3_use_ssl", "s3_region", "s3_bucket", "s3_access_key", "s3_secret_key")
        settings = replace(settings, **{name: getattr(to_s3, name) for name in names})
    made = House(
        settings, Store(database_url), Broker(redis_url, redis_prefix), FakeClock(), threading.Event(), reached=[]
    )
    yield made
    made.store.close()
    made.broker.close()


class Line:
    """Every stage, with real files and a real publish; ``ran`` are the steps that did something."""

    def __init__(self, house):
        self.house = house
        self.publish = PublishStage(house.settings)
        self.ran = []

    def work(self, step):
        self.ran.append(step.name)
        if step.name in FILES:
            name, content = FILES[step.name]
            (step.work / name).write_bytes(content)
        if step.name == "fetch":
            return StepResult(outputs=Fetched(tracks=(FetchedTrack(track=TRACK, path="video.media", size=5),)))
        if step.name == "mux":
            assert (step.work / "video.media").read_bytes() == b"track"
            file = MuxedFile(path="mux-1.mp4", name="A.mp4", size=5, content_type="video/mp4")
            return StepResult(outputs=Muxed(main=file))
        return self.publish.run(step) if step.name == "publish" else StepResult(outputs=PLAN)

    def run(self, *, until=None):
        """The steps one after the other; those of ``until`` are left to whoever dies of them."""
        for name, step in ROUTE.items():
            if name == until:
                return
            if delivery := self.house.deliver(step.stage):
                runner = self.house.runner()
                runner._stage = FunctionStage(self.work)
                runner.run(delivery, "w/0")

    def die(self, job_id, name, *, after=lambda: None):
        """Three processes die of the step, each when it has done ``after``; nobody is left to clean up."""
        for _ in range(3):
            assert claim(self.house.store, job_id, name, "dead/0")
            after()
            lapsed = self.house.store.lapsed("dead")
            recovery.take_from_the_dead(self.house.store, self.house.broker, lapsed, expired_only=False)
        assert self.house.store.job(job_id).error_code == "poisoned"


@pytest.fixture
def line(house):
    made = Line(house)
    yield made
    made.publish.close()


def again(house, job_id):
    job = house.store.job(job_id)
    return run_again(house.store, house.broker, job, house.settings.jobs_dir / job_id)


def well(house, job_id):
    """The job is done and its file stands."""
    job = house.store.job(job_id)
    assert (job.status, job.error_code, job.progress_percent) == (Status.DONE, None, 100)
    files = open_store(house.settings)
    assert files.kind == job.artifact.storage
    assert files.head(job.artifact).size == 5
    files.delete_job(job_id)
    files.close()


@pytest.mark.parametrize("name", ROUTE)
def test_it_begins_where_it_ended_while_all_before_stands(house, line, name):
    job_id = house.post()
    line.run(until=name)
    # What the dead had not yet made a folder for cannot be gone on with.
    (house.settings.jobs_dir / job_id).mkdir(parents=True, exist_ok=True)
    line.die(job_id, name)
    begun = again(house, job_id)
    before = list(ROUTE)[: list(ROUTE).index(name)]
    assert (begun.ready, list(begun.kept)) == ((name,), before)
    line.ran.clear()
    line.run()
    assert line.ran == list(ROUTE)[len(before) :]
    well(house, job_id)


@pytest.mark.parametrize(
    ("lost", "first"),
    [("mux-1.mp4", "mux"), ("video.media", "fetch"), ("", "resolve")],
    ids=["file", "track", "folder"],
)
def test_it_begins_earlier_where_files_are_gone(house, line, lost, first):
    job_id = house.post()
    line.run(until="publish")
    line.die(job_id, "publish")
    work = house.settings.jobs_dir / job_id
    if lost:
        (work / lost).unlink()
    else:
        shutil.rmtree(work)
    assert again(house, job_id).ready == (first,)
    line.run()
    well(house, job_id)


def test_a_file_that_stood_already_when_its_step_died_is_found(house, line):
    job_id = house.post()
    line.run(until="publish")
    files, published = open_store(house.settings), []

    def publish():
        held = house.store.lapsed("dead")[0]
        runner = house.runner()
        again_claimed = claim(house.store, job_id, "publish", "dead/0")
        context = runner._context(house.beats().hold(again_claimed, house.clock.monotonic()))
        published.append(line.publish.run(context).outputs.artifact.locator)
        assert held.entry.step == "publish"

    line.die(job_id, "publish", after=publish)
    assert again(house, job_id).ready == ("publish",)
    line.run()
    assert len({*published, house.store.job(job_id).artifact.locator}) == 1
    files.close()
    well(house, job_id)
