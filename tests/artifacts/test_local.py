"""What only a file system does: links, volumes, full disks, planted symbolic links, locators of older services."""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from downloader import disk
from downloader.artifacts import Sweep, files, open_store
from downloader.artifacts.local import LocalStore
from downloader.config import Settings
from downloader.errors import Cancelled, InsufficientStorage, StorageFailed
from downloader.job import Artifact
from tests.artifacts.conftest import JOB, publication

MakeSource = Callable[[bytes], Path]


@pytest.fixture
def local(local_settings: Settings) -> LocalStore:
    """The local store by its own type."""
    store = open_store(local_settings)
    assert isinstance(store, LocalStore)
    return store


@pytest.fixture
def elsewhere(local: LocalStore, local_settings: Settings) -> Iterator[LocalStore]:
    """The store with its artifacts on another volume than the work folders."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == local_settings.data_dir.parent.stat().st_dev:
        pytest.skip("there is no second volume (/dev/shm) to publish to")
    folder = other / f"artifacts-{os.getpid()}"
    folder.mkdir()
    local_settings.data_dir.mkdir(exist_ok=True)
    local_settings.artifacts_dir.symlink_to(folder)
    yield local
    shutil.rmtree(folder)


def put(store: LocalStore, source: Path, epoch: int = 1) -> Artifact:
    return store.put(source, publication(epoch=epoch), progress=lambda _done, _total: None, check=lambda: None)


def left(settings: Settings) -> list[str]:
    return sorted(str(path.relative_to(settings.artifacts_dir)) for path in settings.artifacts_dir.rglob("*"))


def test_one_volume_takes_no_copy(local: LocalStore, make_source: MakeSource) -> None:
    source = make_source(b"bytes")
    path = local.locate(put(local, source))
    assert path is not None
    assert path.samefile(source)


def test_another_volume_gets_a_copy(elsewhere: LocalStore, local_settings: Settings, make_source: MakeSource) -> None:
    content = os.urandom(20 << 20)
    source = make_source(content)
    first = put(elsewhere, source)
    assert put(elsewhere, source, epoch=2) == first
    path = elsewhere.locate(first)
    assert path is not None
    assert path.read_bytes() == content
    assert not path.samefile(source)
    assert left(local_settings) == [JOB, f"{JOB}/Title.mp4"]


def test_a_cancel_in_a_copy_leaves_nothing(
    elsewhere: LocalStore, local_settings: Settings, make_source: MakeSource
) -> None:
    source, seen = make_source(bytes(20 << 20)), 0

    def progress(done: int, _total: int) -> None:
        nonlocal seen
        seen = done

    def check() -> None:
        if seen:
            raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        elsewhere.put(source, publication(), progress=progress, check=check)
    assert seen < 20 << 20
    assert left(local_settings) == []


def test_without_hard_links_it_copies_and_renames(
    local: LocalStore, local_settings: Settings, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_source: Path, _target: Path) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    source = make_source(b"whole")
    first = put(local, source)
    assert put(local, source, epoch=2) == first
    assert put(local, make_source(b"other"), epoch=1).locator != first.locator
    assert left(local_settings) == [JOB, f"{JOB}/1-Title.mp4", f"{JOB}/Title.mp4"]


def test_nothing_is_named_before_it_is_on_the_disk(
    local: LocalStore, local_settings: Settings, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's bytes, then its name, then the folder that holds the name."""
    source = make_source(b"bytes")
    seen: list[tuple[str, str]] = []
    fsync, link = os.fsync, os.link

    def watched_fsync(descriptor: int) -> None:
        seen.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def watched_link(source: Path, target: Path) -> None:
        seen.append(("link", str(target)))
        link(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "link", watched_link)
    put(local, source)
    folder = local_settings.artifacts_dir / JOB
    assert seen == [
        ("fsync", str(source)),
        ("fsync", str(local_settings.artifacts_dir)),
        ("link", str(folder / "Title.mp4")),
        ("fsync", str(folder)),
    ]


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, InsufficientStorage), (errno.EDQUOT, InsufficientStorage), (errno.EIO, StorageFailed)],
)
def test_a_rename_that_fails_leaves_nothing(  # noqa: PLR0917 - pytest passes them by name
    elsewhere: LocalStore,
    local_settings: Settings,
    make_source: MakeSource,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[Exception],
) -> None:
    """Where there are no hard links the last step is a rename."""

    def fail(with_number: int) -> Callable[..., None]:
        def call(*_arguments: object) -> None:
            raise OSError(with_number, os.strerror(with_number))

        return call

    source = make_source(bytes(5000))
    monkeypatch.setattr(os, "link", fail(errno.EPERM))
    monkeypatch.setattr(os, "rename", fail(number))
    with pytest.raises(kind):
        put(elsewhere, source)
    assert left(local_settings) == []


@pytest.mark.parametrize("call", ["fsync", "sendfile", "link"])
@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, InsufficientStorage), (errno.EDQUOT, InsufficientStorage), (errno.EIO, StorageFailed)],
)
def test_a_disk_that_fails_leaves_nothing(  # noqa: PLR0917 - pytest passes them by name
    elsewhere: LocalStore,
    local_settings: Settings,
    make_source: MakeSource,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    kind: type[Exception],
) -> None:
    source = make_source(bytes(5000))

    def fail(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(kind) as raised:
        put(elsewhere, source)
    assert left(local_settings) == []
    if isinstance(raised.value, InsufficientStorage):
        assert raised.value.required == 5000
        assert raised.value.free > 0
    monkeypatch.undo()
    assert elsewhere.head(put(elsewhere, source))


def test_a_failed_flush_is_not_forgotten(make_source: MakeSource) -> None:
    with pytest.raises(FileNotFoundError):
        files.flush_checked(make_source(b"x").with_name("gone"), lambda: None)


def test_a_folder_removed_behind_our_back_comes_again(
    local: LocalStore, local_settings: Settings, make_source: MakeSource
) -> None:
    source = make_source(b"x")
    artifact = put(local, source)
    shutil.rmtree(local_settings.artifacts_dir)
    assert local.locate(artifact) is None
    assert local.delete_job(JOB) == 0
    assert put(local, source) == artifact
    assert local.locate(artifact)


def test_a_source_that_is_gone_is_a_failure(
    local: LocalStore, local_settings: Settings, make_source: MakeSource
) -> None:
    source = make_source(b"x")
    source.unlink()
    with pytest.raises(StorageFailed):
        put(local, source)
    assert not local_settings.artifacts_dir.exists() or left(local_settings) == []


def test_no_link_leads_out(local: LocalStore, local_settings: Settings, make_source: MakeSource) -> None:
    artifact = put(local, make_source(b"x"))
    secret = local_settings.data_dir / "secret.mp4"
    secret.write_bytes(b"secret")
    folder = local_settings.artifacts_dir / JOB
    (folder / "link.mp4").symlink_to(secret)
    (local_settings.artifacts_dir / "linkedjob1").symlink_to(local_settings.jobs_dir / JOB)
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (folder / ".hidden").write_bytes(b"x")
    os.mkfifo(folder / "pipe.mp4")
    for name in (f"{JOB}/link.mp4", "linkedjob1/out.1.mp4", f"{JOB}/loop.mp4", f"{JOB}/.hidden", f"{JOB}/pipe.mp4"):
        assert local.locate(msgspec.structs.replace(artifact, locator=f"artifacts/{name}")) is None


@pytest.mark.parametrize("before", ["", "data/", "./data/", "/app/data/", "/var/lib/artifacts/"])
def test_locators_of_older_services_lead_to_the_same_file(
    local: LocalStore, make_source: MakeSource, before: str
) -> None:
    artifact = put(local, make_source(b"x"))
    old = msgspec.structs.replace(artifact, locator=f"{before}{artifact.locator}")
    assert local.locate(old) == local.locate(artifact)


def test_locators_relative_to_another_data_folder(tmp_path: Path, make_source: MakeSource, local: LocalStore) -> None:
    artifact = put(local, make_source(b"x"))
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "data", moved)
    again = open_store(Settings(data_dir=moved, storage_backend="local"))
    assert again.locate(artifact) == moved / artifact.locator


def test_freed_bytes_are_those_that_nothing_else_holds(local: LocalStore, make_source: MakeSource) -> None:
    source = make_source(bytes(100_000))
    artifact = put(local, source)
    assert local.delete(artifact) == 0
    put(local, source)
    source.unlink()
    assert local.delete_job(JOB) >= 100_000


def test_a_sweep_takes_old_parts_of_jobs_that_rest(
    local: LocalStore, local_settings: Settings, make_source: MakeSource
) -> None:
    artifact = put(local, make_source(b"x"))
    part = local_settings.artifacts_dir / JOB / ".3.part"
    part.write_bytes(bytes(10_000))
    now = datetime.now(UTC)
    early = Sweep(keep=lambda ids: ids, running=lambda _ids: (), parts_before=now - timedelta(hours=1))
    assert local.sweep(early).parts == 0
    later = replace(early, parts_before=now + timedelta(hours=1))
    assert local.sweep(replace(later, running=lambda ids: ids)).parts == 0
    assert local.sweep(replace(later, dry_run=True)).parts == 1
    assert part.exists()
    swept = local.sweep(later)
    assert (swept.parts, swept.jobs) == (1, 0)
    assert swept.bytes_freed >= 10_000
    assert local.locate(artifact)


def test_a_folder_that_goes_is_not_counted_by_its_parts_once_more(local: LocalStore, local_settings: Settings) -> None:
    folder = local_settings.artifacts_dir / JOB
    folder.mkdir(parents=True)
    (folder / ".3.part").write_bytes(bytes(10_000))
    nobody = Sweep(keep=lambda _ids: (), running=lambda _ids: (), parts_before=datetime.now(UTC) + timedelta(hours=1))
    told = local.sweep(replace(nobody, dry_run=True))
    assert (told.jobs, told.parts) == (1, 0)
    assert told == local.sweep(nobody)
    assert not folder.exists()


def test_a_part_that_resists_keeps_no_other(
    local: LocalStore, local_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [f"{number}" * 24 for number in range(2)]
    for job_id in jobs:
        (local_settings.artifacts_dir / job_id).mkdir(parents=True)
        (local_settings.artifacts_dir / job_id / ".3.part").write_bytes(b"x")
    unlink = Path.unlink

    def resist(self: Path, *, missing_ok: bool = False) -> None:
        if jobs[0] in str(self):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", resist)
    later = datetime.now(UTC) + timedelta(hours=1)
    swept = local.sweep(Sweep(keep=lambda ids: ids, running=lambda _ids: (), parts_before=later))
    assert (swept.parts, [item.what for item in swept.resisted]) == (1, [jobs[0]])


def test_an_unwritable_folder_is_unhealthy(local: LocalStore, local_settings: Settings) -> None:
    local.health()
    local_settings.artifacts_dir.rmdir()
    local_settings.artifacts_dir.write_text("a file")
    with pytest.raises(StorageFailed):
        local.health()


def test_published_files_are_regular(local: LocalStore, make_source: MakeSource) -> None:
    path = local.locate(put(local, make_source(b"x")))
    assert path is not None
    assert stat.S_ISREG(path.lstat().st_mode)


def test_local_storage_never_loads_boto3(run_python: Callable[[str], str]) -> None:
    program = (
        "import sys; from pathlib import Path; from downloader.config import Settings;"
        "from stages.publish import PublishStage; PublishStage(Settings(data_dir=Path('/nowhere')));"
        "print(sorted({'boto3', 'botocore', 'regex', 'gevent', 'flask'} & set(sys.modules)))"
    )
    assert run_python(program) == "[]"


def test_disk_figures(tmp_path: Path) -> None:
    space = disk.free(tmp_path / "not" / "there" / "yet")
    assert 0 <= space.free <= space.total
    assert space.total > 0
    settings = Settings(storage_min_free_bytes=100, storage_min_free_percent=20)
    assert disk.minimum(settings, disk.DiskSpace(total=1000, free=0)) == 200
    assert disk.minimum(settings, disk.DiskSpace(total=10, free=0)) == 100
