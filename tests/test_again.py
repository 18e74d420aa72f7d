"""Which steps of a failed job stand, and what Redis is told when it runs again."""

import shutil

import msgspec
import pytest

from downloader.again import outputs_stand, run_again, standing
from downloader.broker import Broker
from downloader.errors import BrokerUnavailable
from downloader.handoff import Fetched, FetchedTrack, Muxed, MuxedFile, Published, Track
from downloader.job import Artifact, Entry, Progress
from downloader.route import ROUTE
from downloader.states import Stage
from downloader.store import Store
from downloader.store.again import StepOutputs
from tests.stages.driving import PLAN
from tests.store.conftest import new

VIDEO = Track(key="video", kind="video", transport="ranges", url="https://example.test/v")
FETCHED = Fetched(tracks=(FetchedTrack(track=VIDEO, path="tracks/video", size=5),))
MUXED = Muxed(
    main=MuxedFile(path="out.mp4", name="A.mp4", size=3, content_type="video/mp4"),
    sidecars=(MuxedFile(path="en.srt", name="en.srt", size=2, content_type="text/plain"),),
)
PUBLISHED = Published(
    artifact=Artifact(storage="local", locator="artifacts/a/A.mp4", name="A.mp4", size=3, content_type="video/mp4")
)


@pytest.fixture
def work(tmp_path):
    """A job's folder with the files of FETCHED and MUXED."""
    folder = tmp_path / "work"
    (folder / "tracks").mkdir(parents=True)
    for name, size in (("tracks/video", 5), ("out.mp4", 3), ("en.srt", 2)):
        (folder / name).write_bytes(b"x" * size)
    return folder


def steps(**done):
    return [StepOutputs(name, step.needs, as_json(done.get(name))) for name, step in ROUTE.items()]


def as_json(value):
    return None if value is None else msgspec.json.decode(msgspec.json.encode(value))


def test_all_that_is_there_is_kept(work):
    assert standing(steps(resolve=PLAN, fetch=FETCHED, mux=MUXED), work) == ("resolve", "fetch", "mux")


def test_nothing_is_kept_once_the_folder_is_gone(work):
    shutil.rmtree(work)
    assert standing(steps(resolve=PLAN, fetch=FETCHED, mux=MUXED), work) == ()


def test_what_needs_something_lost_is_lost(work):
    (work / "tracks" / "video").unlink()
    assert standing(steps(resolve=PLAN, fetch=FETCHED, mux=MUXED), work) == ("resolve",)


@pytest.mark.parametrize("name", ["out.mp4", "en.srt"])
def test_a_file_of_another_length_does_not_stand(work, name):
    assert outputs_stand(as_json(MUXED), work)
    with (work / name).open("ab") as file:
        file.write(b"x")
    assert not outputs_stand(as_json(MUXED), work)


def test_neither_a_step_that_was_not_done_nor_a_published_file_stands(work):
    assert not outputs_stand(None, work)
    assert not outputs_stand(as_json(PUBLISHED), work)


@pytest.fixture
def failed(database_url):
    """A store and a cancelled job."""
    store = Store(database_url)
    posted = store.post(new(), limit=10)
    yield store, store.cancel(posted.id)
    store.close()


def test_the_entry_is_added_and_live_progress_of_before_is_gone(failed, redis_url, redis_prefix, tmp_path):
    store, job = failed
    broker = Broker(redis_url, redis_prefix)
    broker.publish({job.id: Progress(Stage.DOWNLOAD, 80.0, 8, 10)})
    begun = run_again(store, broker, job, tmp_path / "none")
    assert (begun.ready, begun.kept) == (("resolve",), ())
    assert broker.snapshot(job.id) is None
    assert broker.entries("resolve") == {Entry("resolve", job.id, "resolve")}
    broker.close()


def test_without_redis_it_is_queued_all_the_same(failed, tmp_path):
    store, job = failed
    broker = Broker("redis://127.0.0.1:1/0", "p")
    with pytest.raises(BrokerUnavailable):
        broker.ping()
    assert run_again(store, broker, job, tmp_path).ready == ("resolve",)
    assert store.due("resolve", 0) == [Entry("resolve", job.id, "resolve")]
