"""The contract of artifact stores, held by each of them: local disk and S3."""

import os
import urllib.request
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import msgspec
import pytest

from downloader.artifacts import ArtifactStore, PresignedUrl, Sweep
from downloader.errors import Cancelled, LeaseLost
from downloader.job import Artifact, Sidecar
from tests.artifacts import digests
from tests.artifacts.conftest import JOB, publication

MakeSource = Callable[[bytes], Path]
BIG = 20 << 20  # three parts of a multipart upload


def put(store: ArtifactStore, source: Path, name: str = "Title.mp4", epoch: int = 1, job_id: str = JOB) -> Artifact:
    return store.put(
        source,
        publication(name, epoch=epoch, job_id=job_id),
        progress=lambda _done, _total: None,
        check=lambda: None,
    )


def fetch(where: Path | PresignedUrl | None) -> bytes:
    assert where is not None
    if isinstance(where, Path):
        return where.read_bytes()
    with urllib.request.urlopen(where.url, timeout=10) as response:
        return bytes(response.read())


def everything(ids: Sequence[str]) -> Collection[str]:
    return ids


def nothing(_ids: Sequence[str]) -> Collection[str]:
    return ()


@pytest.mark.parametrize("size", [0, 1, 1 << 20, BIG])
def test_what_was_put_is_found_and_fetched(store: ArtifactStore, make_source: MakeSource, size: int) -> None:
    content = os.urandom(size)
    source = make_source(content)
    artifact = put(store, source)
    assert (artifact.storage, artifact.name, artifact.size) == (store.kind, "Title.mp4", size)
    assert artifact.locator == f"artifacts/{JOB}/Title.mp4"
    assert artifact.content_type == "video/mp4"
    assert artifact.digest in ("", digests.of(content))
    info = store.head(artifact)
    assert info is not None
    assert (info.size, info.digest) == (size, artifact.digest)
    assert abs(info.modified - datetime.now(UTC)) < timedelta(minutes=1)
    assert fetch(store.locate(artifact)) == content
    assert source.read_bytes() == content


def test_putting_twice_gives_the_same_artifact(store: ArtifactStore, make_source: MakeSource) -> None:
    source = make_source(b"whole" * 1000)
    assert put(store, source, epoch=1) == put(store, source, epoch=2)


def test_an_equal_file_made_again_is_the_same_artifact(store: ArtifactStore, make_source: MakeSource) -> None:
    first = put(store, make_source(b"same bytes"), epoch=1)
    assert put(store, make_source(b"same bytes"), epoch=2) == first


def test_nothing_that_stands_is_replaced(store: ArtifactStore, make_source: MakeSource) -> None:
    newer = put(store, make_source(b"newer"), epoch=2)
    stale = put(store, make_source(b"stale"), epoch=1)
    assert stale.name == newer.name
    assert stale.locator != newer.locator
    assert fetch(store.locate(newer)) == b"newer"
    assert fetch(store.locate(stale)) == b"stale"


def test_many_at_once_publish_one_artifact(store: ArtifactStore, make_source: MakeSource) -> None:
    source = make_source(os.urandom(BIG))
    found: list[Artifact] = []
    threads = [Thread(target=lambda: found.append(put(store, source))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert fetch(store.locate(found[0])) == source.read_bytes()


def test_progress_rises_to_the_size(store: ArtifactStore, make_source: MakeSource) -> None:
    seen: list[tuple[int, int]] = []
    source = make_source(bytes(BIG))
    store.put(source, publication(), progress=lambda done, total: seen.append((done, total)), check=lambda: None)
    assert seen[-1] == (BIG, BIG)
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {BIG}


@pytest.mark.parametrize("raised", [Cancelled("cancelled"), LeaseLost("lost")])
@pytest.mark.parametrize("size", [10, BIG])
def test_a_check_that_raises_leaves_nothing(
    store: ArtifactStore, make_source: MakeSource, raised: Exception, size: int
) -> None:
    # The check right before the point of no return is the last: find how many there are, then raise at each.
    source = make_source(os.urandom(size))
    for at in (1, 2, 3):
        calls = 0

        def check(at: int = at) -> None:
            nonlocal calls
            calls += 1
            if calls == at:
                raise raised

        try:
            artifact = store.put(source, publication(), progress=lambda _done, _total: None, check=check)
        except type(raised):
            assert (
                store.head(Artifact(store.kind, f"artifacts/{JOB}/Title.mp4", "Title.mp4", size, "video/mp4")) is None
            )
            assert store.delete_job(JOB) == 0
        else:
            assert calls < at
            store.delete(artifact)


def test_what_is_gone_is_none(store: ArtifactStore, make_source: MakeSource) -> None:
    artifact = put(store, make_source(b"here today"))
    assert store.delete(artifact) in (0, 10)
    assert store.head(artifact) is None
    assert store.locate(artifact) is None
    assert store.delete(artifact) == 0


def test_a_deleted_job_has_nothing_left(store: ArtifactStore, make_source: MakeSource) -> None:
    source = make_source(b"12345")
    artifacts = [put(store, source, name) for name in ("a.mp4", "a.en.srt", "ü 😀.mp4")]
    store.delete_job(JOB)
    assert [store.head(artifact) for artifact in artifacts] == [None] * 3
    assert store.delete_job(JOB) == 0


def test_a_sidecar_is_found_as_an_artifact_is(store: ArtifactStore, make_source: MakeSource) -> None:
    artifact = put(store, make_source(b"1\n00:00"), "Title.en.srt")
    sidecar = Sidecar(name=artifact.name, locator=artifact.locator, content_type="text/vtt", size=artifact.size)
    assert fetch(store.locate(sidecar)) == b"1\n00:00"


ELSEWHERE = [
    "",
    "/etc/passwd",
    "artifacts",
    f"artifacts/{JOB}",
    f"artifacts/{JOB}/",
    f"artifacts/{JOB}/../../secret",
    f"artifacts/../jobs/{JOB}/out.1.mp4",
    f"jobs/{JOB}/out.1.mp4",
    f"artifacts/{JOB}/a\0b",
    "artifacts/../../../etc/passwd",
]


def test_a_locator_leads_nowhere_else(store: ArtifactStore, make_source: MakeSource) -> None:
    source = make_source(b"secret")
    (source.parents[2] / "secret").write_bytes(b"secret")
    artifact = put(store, source)
    for locator in ELSEWHERE:
        elsewhere = msgspec.structs.replace(artifact, locator=locator)
        assert store.head(elsewhere) is None, locator
        assert store.locate(elsewhere) is None, locator
        assert store.delete(elsewhere) == 0, locator


def test_a_sweep_follows_the_database(store: ArtifactStore, make_source: MakeSource) -> None:
    kept, running, gone = "keptkept01", "running001", "gonegone01"
    source = make_source(b"x" * 5000)
    artifacts = {job_id: put(store, source, job_id=job_id) for job_id in (kept, running, gone)}
    source.unlink()

    def keep(ids: Sequence[str]) -> Collection[str]:
        return [job_id for job_id in ids if job_id not in (gone, running)]

    sweep = Sweep(keep=keep, running=lambda _ids: {running}, parts_before=datetime.now(UTC), dry_run=True)
    counted = store.sweep(sweep)
    assert all(store.head(artifact) for artifact in artifacts.values())
    assert counted.jobs == 1
    swept = store.sweep(Sweep(keep=keep, running=sweep.running, parts_before=sweep.parts_before))
    assert swept == counted
    assert {job_id for job_id, artifact in artifacts.items() if store.head(artifact)} == {kept, running}
    store.delete_job(kept)
    store.delete_job(running)
    assert store.sweep(Sweep(keep=nothing, running=nothing, parts_before=datetime.now(UTC))).jobs == 0


def test_a_name_that_is_a_path_is_refused(store: ArtifactStore, make_source: MakeSource) -> None:
    source = make_source(b"x")
    for name in ("../x.mp4", "a/b.mp4", ""):
        with pytest.raises(ValueError, match="name"):
            put(store, source, name)
    with pytest.raises(ValueError, match="id"):
        put(store, source, job_id="../../etc")


def test_a_healthy_store_says_so(store: ArtifactStore) -> None:
    store.health()


def test_a_job_that_ends_during_a_sweep_keeps_its_artifact(store: ArtifactStore, make_source: MakeSource) -> None:
    artifact = put(store, make_source(b"x"))
    ended = False

    def running(ids: Sequence[str]) -> Collection[str]:
        nonlocal ended
        still = () if ended else ids
        ended = True
        return still

    def keep(ids: Sequence[str]) -> Collection[str]:
        nonlocal ended
        standing = ids if ended else ()
        ended = True
        return standing

    store.sweep(Sweep(keep=keep, running=running, parts_before=datetime.now(UTC)))
    assert store.head(artifact)
