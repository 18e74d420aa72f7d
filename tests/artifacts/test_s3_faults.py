"""What S3 servers do wrong: each fault ends in a whole artifact or one clear error, with nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import botocore.auth
import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.artifacts import ArtifactStore, Sweep, open_store, s3_client
from downloader.artifacts.s3_upload import part_size
from downloader.config import Settings
from downloader.errors import Cancelled, InsufficientStorage, StorageFailed, StorageRefused
from downloader.job import Artifact
from tests.artifacts import digests
from tests.artifacts.conftest import JOB, publication
from tests.artifacts.faults import Fault, FaultProxy, proxied

MakeSource = Callable[[bytes], Path]
BIG = 17 << 20  # three parts
SMALL = 1000


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "_FIRST_PAUSE", 0.005)
    monkeypatch.setattr(s3_client, "_READ_SECONDS", 2.0)


@pytest.fixture
def broken(s3_settings: Settings, s3: ArtifactStore) -> Iterator[Callable[..., tuple[ArtifactStore, FaultProxy]]]:
    """Opens a store behind a proxy with the given faults."""
    with ExitStack() as stack:

        def start(*faults: Fault) -> tuple[ArtifactStore, FaultProxy]:
            proxy = stack.enter_context(proxied(s3_settings.s3_endpoint, *faults))
            store = open_store(replace(s3_settings, s3_endpoint=proxy.endpoint))
            stack.callback(store.close)
            return store, proxy

        yield start


def put(store: ArtifactStore, source: Path) -> Artifact:
    return store.put(source, publication(), progress=lambda _done, _total: None, check=lambda: None)


def expected(size: int) -> Artifact:
    return Artifact("s3", f"artifacts/{JOB}/Title.mp4", "Title.mp4", size, "video/mp4")


def unfinished(store: ArtifactStore) -> int:
    """How many uploads are left behind, by a dry run."""
    later = datetime.now(UTC) + timedelta(hours=1)
    return store.sweep(Sweep(keep=lambda ids: ids, running=lambda _ids: (), parts_before=later, dry_run=True)).parts


PASSING = [
    Fault("*", 3, 503, "SlowDown"),
    Fault("*", 3, 500, "InternalError"),
    Fault("put", 2, 502, ""),
    Fault("part", 2, 504, ""),
    Fault("head", 2, 429, "TooManyRequests"),
    Fault("put", 2, 503, "SlowDown"),
    Fault("create", 2, 500, "InternalError"),
    Fault("part", 4, 503, "SlowDown"),
    Fault("part", 2, 400, "RequestTimeout"),
    Fault("part", 1, 400, "BadDigest"),
    Fault("part", 1, 400, "InvalidDigest"),
    Fault("part", 1, hang=True),
    Fault("complete", 3, 503, "SlowDown"),
    Fault("complete", 2, 200, "InternalError"),
    Fault("create", 1, 403, "RequestTimeTooSkewed"),
    Fault("put", 1, lose=True),
    Fault("part", 2, lose=True),
    Fault("complete", 1, lose=True),
    Fault("complete", 100, lose=True),
    Fault("head", 1, lose=True),
    Fault("*", 100, 501, "NotImplemented", conditional_only=True),
]


def cases() -> list[object]:
    """Each fault with the sizes whose upload comes across it."""
    sizes = {"*": (SMALL, BIG), "head": (SMALL,), "put": (SMALL,)}
    return [
        pytest.param(fault, size, id=f"{fault.operation}-{fault.status}-{fault.code}-{size}")
        for fault in PASSING
        for size in sizes.get(fault.operation, (BIG,))
    ]


@pytest.mark.parametrize(("fault", "size"), cases())
def test_what_passes_is_survived(
    s3: ArtifactStore,
    broken: Callable[..., tuple[ArtifactStore, FaultProxy]],
    make_source: MakeSource,
    fault: Fault,
    size: int,
) -> None:
    store, _ = broken(replace(fault))
    artifact = put(store, make_source(os.urandom(size)))
    info = s3.head(artifact)
    assert artifact.locator == expected(size).locator
    assert info is not None
    assert (info.size, info.digest) == (size, artifact.digest)
    assert unfinished(s3) == 0


def test_an_upload_begun_twice_is_swept(
    s3: ArtifactStore, broken: Callable[..., tuple[ArtifactStore, FaultProxy]], make_source: MakeSource
) -> None:
    store, _ = broken(Fault("create", 1, lose=True))
    artifact = put(store, make_source(os.urandom(BIG)))
    assert unfinished(s3) == 1
    later = datetime.now(UTC) + timedelta(hours=1)
    assert s3.sweep(Sweep(keep=lambda ids: ids, running=lambda _ids: (), parts_before=later)).parts == 1
    assert unfinished(s3) == 0
    assert s3.head(artifact)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("*", 1000, 503, "SlowDown"), StorageFailed),
        (Fault("part", 1000, 500, "InternalError"), StorageFailed),
        (Fault("complete", 1000, 200, "InternalError"), StorageFailed),
        (Fault("complete", 1000, 400, "InvalidPart"), StorageRefused),
        (Fault("part", 1000, 507, "InsufficientStorage"), InsufficientStorage),
        (Fault("part", 1000, 403, "QuotaExceeded"), InsufficientStorage),
        (Fault("create", 1000, 403, "AccessDenied"), StorageRefused),
        (Fault("create", 1000, 404, "NoSuchBucket"), StorageRefused),
        (Fault("create", 1000, 403, "RequestTimeTooSkewed"), StorageFailed),
        (Fault("part", 1000, 404, "NoSuchUpload"), StorageFailed),
    ],
    ids=lambda value: f"{value.operation}-{value.status}-{value.code}" if isinstance(value, Fault) else "",
)
def test_what_does_not_pass_is_one_clear_error(
    s3: ArtifactStore,
    broken: Callable[..., tuple[ArtifactStore, FaultProxy]],
    make_source: MakeSource,
    fault: Fault,
    kind: type[Exception],
) -> None:
    store, _ = broken(fault)
    with pytest.raises(kind) as raised:
        put(store, make_source(os.urandom(BIG)))
    assert type(raised.value) is kind
    message = str(raised.value)
    assert message.endswith(".")
    assert not any(secret in message for secret in ("127.0.0.1", "testing", "Signature=", "uploadId", "http"))
    assert s3.head(expected(BIG)) is None
    assert unfinished(s3) == 0


@pytest.mark.parametrize(("operation", "size"), [("put", SMALL), ("complete", BIG)])
def test_what_the_server_says_it_kept_is_looked_at(
    broken: Callable[..., tuple[ArtifactStore, FaultProxy]], make_source: MakeSource, operation: str, size: int
) -> None:
    """A server, or a proxy before it, that answers 200 and stores nothing."""
    store, proxy = broken(Fault(operation, 1000, 200, kept=True))
    with pytest.raises(StorageFailed, match="did not keep"):
        put(store, make_source(os.urandom(size)))
    assert proxy.seen[-2:] == [operation, "head"]


def test_the_object_says_what_it_is(s3: ArtifactStore, s3_settings: Settings, make_source: MakeSource) -> None:
    """Also to those who come to it without our presigned URL."""
    client = s3_client.connect(s3_settings, f"http://{s3_settings.s3_endpoint}")
    for size in (SMALL, BIG):
        source = make_source(os.urandom(size))
        artifact = s3.put(source, publication("Tïtle.mp4"), progress=lambda _done, _total: None, check=lambda: None)
        found = client.head_object(Bucket=s3_settings.s3_bucket, Key=artifact.locator)
        assert found["ContentType"] == "video/mp4"
        assert found["ContentDisposition"] == "attachment; filename=\"Title.mp4\"; filename*=UTF-8''T%C3%AFtle.mp4"
        assert found["Metadata"] == {"sha256-blocks": digests.of(source.read_bytes())}
        s3.delete(artifact)
    client.close()


def test_progress_is_told_part_by_part(s3: ArtifactStore, make_source: MakeSource) -> None:
    seen: list[int] = []
    size = 40 << 20
    s3.put(make_source(bytes(size)), publication(), progress=lambda done, _total: seen.append(done), check=lambda: None)
    step = part_size(size, publication().epoch)
    assert seen == sorted(seen)
    assert set(seen) <= {*range(0, size, step), size}
    assert len(set(seen)) > 2


def test_wrong_credentials_are_refused(s3_settings: Settings, make_source: MakeSource) -> None:
    store = open_store(replace(s3_settings, s3_secret_key="wrong"))
    with pytest.raises(StorageRefused):
        put(store, make_source(b"x"))
    with pytest.raises(StorageRefused):
        store.health()
    store.close()


def test_a_missing_bucket_is_refused(s3_settings: Settings, make_source: MakeSource) -> None:
    store = open_store(replace(s3_settings, s3_bucket="no-such-bucket"))
    for size in (SMALL, BIG):
        with pytest.raises(StorageRefused, match="bucket"):
            put(store, make_source(bytes(size)))
    with pytest.raises(StorageRefused, match="bucket"):
        store.health()
    store.close()


SetClock = Callable[[Callable[[int], float]], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Sets the clock that requests are signed by as many seconds off as a function of the request's number says."""

    def set_off(seconds: Callable[[int], float]) -> None:
        requests = 0

        class Clock(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                return datetime.now(tz) + timedelta(seconds=seconds(requests))

        def sign_at() -> datetime:
            nonlocal requests
            requests += 1
            return Clock.now(UTC).replace(tzinfo=None)

        monkeypatch.setattr(s3_client, "datetime", Clock)
        monkeypatch.setattr(botocore.auth, "get_current_datetime", sign_at)

    return set_off


@pytest.mark.parametrize("size", [SMALL, BIG])
@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
def test_a_clock_that_is_set_right_meanwhile_is_survived(  # noqa: PLR0917 - pytest passes them by name
    s3: ArtifactStore,
    broken: Callable[..., tuple[ArtifactStore, FaultProxy]],
    make_source: MakeSource,
    set_clock: SetClock,
    size: int,
    seconds: float,
) -> None:
    """As after a machine slept: the real server refuses the first tries, until the clock has been set."""
    store, proxy = broken()
    set_clock(lambda request: seconds if request <= 3 else 0.0)
    artifact = put(store, make_source(os.urandom(size)))
    assert proxy.seen[:4] == ["head"] * 4
    assert s3.head(artifact)


def test_a_clock_that_stays_wrong_is_named(s3_settings: Settings, make_source: MakeSource, set_clock: SetClock) -> None:
    store = open_store(s3_settings)
    set_clock(lambda _request: 3600.0)
    for call in (lambda: put(store, make_source(b"x")), store.health):
        with pytest.raises(StorageFailed, match=r"clock and ours are 3(600|599|601) seconds apart") as raised:
            call()
        assert not isinstance(raised.value, StorageRefused)
    set_clock(lambda _request: 60.0)  # which servers bear with
    assert put(store, make_source(b"x"))
    store.delete_job(JOB)
    store.close()


def test_a_server_that_is_away_is_a_failure(tmp_path: Path, make_source: MakeSource) -> None:
    settings = Settings(
        data_dir=tmp_path, s3_endpoint="http://127.0.0.1:1", s3_bucket="b", s3_access_key="k", s3_secret_key="s"
    )
    store = open_store(settings)
    with pytest.raises(StorageFailed):
        put(store, make_source(b"x"))
    began = time.monotonic()
    with pytest.raises(StorageFailed):
        store.health()
    assert time.monotonic() - began < 10, "far below the minute that a transfer may take"
    store.close()


def test_a_server_that_hangs_is_unhealthy_in_time(broken: Callable[..., tuple[ArtifactStore, FaultProxy]]) -> None:
    store, _ = broken(Fault("*", 100, hang=True))
    began = time.monotonic()
    with pytest.raises(StorageFailed):
        store.health()
    assert time.monotonic() - began < 10, "far below the minute that a transfer may take"


@pytest.mark.parametrize("operation", ["head", "create", "part"])
def test_a_cancel_ends_a_hanging_upload_within_a_second(
    s3: ArtifactStore,
    broken: Callable[..., tuple[ArtifactStore, FaultProxy]],
    make_source: MakeSource,
    operation: str,
) -> None:
    fault = Fault(operation, 1, hang=True)
    store, proxy = broken(fault)

    def check() -> None:
        if fault.reached.is_set():
            raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        store.put(make_source(os.urandom(BIG)), publication(), progress=lambda _done, _total: None, check=check)
    assert time.monotonic() - fault.reached_at < 1
    proxy.ended.set()
    # The abort follows once the hanging request has ended.
    deadline = time.monotonic() + 10
    while unfinished(s3) and time.monotonic() < deadline:
        pass
    assert unfinished(s3) == 0
    assert s3.head(expected(BIG)) is None


_CHILD = """
import sys
from pathlib import Path
from downloader.artifacts import Publication, open_store
from downloader.config import load
store = open_store(load())
def progress(done, total):
    if done:
        print("part", flush=True)
        sys.stdin.read()
store.put(Path(sys.argv[1]), Publication(job_id=sys.argv[2], name="Title.mp4", content_type="video/mp4", epoch=1),
          progress=progress, check=lambda: None)
"""


def test_a_kill_between_parts_leaves_only_what_a_sweep_finds(
    s3: ArtifactStore, s3_settings: Settings, make_source: MakeSource
) -> None:
    source = make_source(os.urandom(64 << 20))
    environ = {
        **os.environ,
        "S3_ENDPOINT": s3_settings.s3_endpoint,
        "S3_USE_SSL": "false",
        "S3_BUCKET": s3_settings.s3_bucket,
        "S3_ACCESS_KEY": s3_settings.s3_access_key,
        "S3_SECRET_KEY": s3_settings.s3_secret_key,
    }
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(source), JOB], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"part\n"
        child.send_signal(signal.SIGKILL)
    assert s3.head(expected(64 << 20)) is None
    assert unfinished(s3) == 1

    later = datetime.now(UTC) + timedelta(hours=1)
    before = Sweep(keep=lambda ids: ids, running=lambda _ids: (), parts_before=datetime.now(UTC) - timedelta(hours=1))
    held = Sweep(keep=lambda ids: ids, running=lambda ids: ids, parts_before=later)
    assert s3.sweep(before).parts == 0
    assert s3.sweep(held).parts == 0
    artifact = put(s3, source)
    swept = s3.sweep(Sweep(keep=lambda ids: ids, running=lambda _ids: (), parts_before=later))
    assert swept.parts == 1
    assert swept.bytes_freed >= 8 << 20
    assert unfinished(s3) == 0
    assert s3.head(artifact)


def test_an_upload_that_became_the_object_is_not_aborted(
    s3: ArtifactStore, s3_settings: Settings, make_source: MakeSource
) -> None:
    """As Swift leaves it when it stops between making the object and forgetting the upload."""
    source = make_source(os.urandom(BIG))
    artifact = put(s3, source)
    client = s3_client.connect(s3_settings, f"http://{s3_settings.s3_endpoint}")
    names = {"Bucket": s3_settings.s3_bucket, "Key": artifact.locator}
    upload_id = client.create_multipart_upload(**names)["UploadId"]
    content, step = source.read_bytes(), part_size(BIG, publication().epoch)
    for number, offset in enumerate(range(0, BIG, step), start=1):
        client.upload_part(**names, UploadId=upload_id, PartNumber=number, Body=content[offset : offset + step])
    later = Sweep(keep=lambda ids: ids, running=lambda _ids: (), parts_before=datetime.now(UTC) + timedelta(hours=1))
    assert s3.sweep(later).parts == 0
    assert client.list_parts(**names, UploadId=upload_id)["Parts"]
    s3.delete(artifact)
    assert s3.sweep(later).parts == 1
    client.close()


@given(st.integers(0, 1 << 46), st.integers(0, 1000))
def test_parts_are_of_a_size_that_servers_take(size: int, epoch: int) -> None:
    step = part_size(size, epoch)
    assert step >= 5 << 20
    assert -(-size // step) <= 10_000
    assert step != part_size(size, epoch + 1)
