"""Stores to test: one on local disk, one in a real S3 server that the session starts."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from downloader.artifacts import ArtifactStore, Publication, open_store
from downloader.config import Settings
from tests.swift.server import Swift, available, running

JOB = "0123456789abcdef01234567"


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """A running S3 server."""
    if not available():
        pytest.skip("OpenStack Swift is not installed: no real S3 server to test with")
    with running(tmp_path_factory.mktemp("swift") / "server") as server:
        yield server


def _settings(swift: Swift) -> Settings:
    return Settings(
        s3_endpoint=swift.endpoint,
        s3_region=swift.region,
        s3_bucket=swift.bucket,
        s3_access_key=swift.access_key,
        s3_secret_key=swift.secret_key,
    )


@pytest.fixture
def local_settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", storage_backend="local")


@pytest.fixture
def s3_settings(tmp_path: Path, swift: Swift) -> Settings:
    return replace(_settings(swift), data_dir=tmp_path / "data")


@pytest.fixture(scope="session")
def s3_session_store(swift: Swift) -> Iterator[ArtifactStore]:
    store = open_store(_settings(swift))
    yield store
    store.close()


@pytest.fixture
def s3(s3_session_store: ArtifactStore) -> Iterator[ArtifactStore]:
    """The S3 store, with nothing of the test's job left in it afterwards."""
    yield s3_session_store
    s3_session_store.delete_job(JOB)


@pytest.fixture
def local(local_settings: Settings) -> ArtifactStore:
    """The local store."""
    return open_store(local_settings)


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest) -> ArtifactStore:
    """Each kind of store in turn."""
    found: ArtifactStore = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def make_source(tmp_path: Path) -> Callable[[bytes], Path]:
    """Writes a finished file where mux would leave it."""
    folder = tmp_path / "data" / "jobs" / JOB
    folder.mkdir(parents=True)

    def make(content: bytes, name: str = "out.1.mp4") -> Path:
        path = folder / name
        path.unlink(missing_ok=True)  # as mux does: a file that was handed over is never written again
        path.write_bytes(content)
        return path

    return make


def publication(name: str = "Title.mp4", *, epoch: int = 1, job_id: str = JOB) -> Publication:
    return Publication(job_id=job_id, name=name, content_type="video/mp4", epoch=epoch)


@pytest.fixture
def run_python() -> Callable[[str], str]:
    """Runs a program in a fresh interpreter and returns what it prints."""

    def run(program: str) -> str:
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        return result.stdout.strip()

    return run
