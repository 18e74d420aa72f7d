"""Stores to test: one on local disk, one in a real S3 server that the session starts."""

import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from downloader.artifacts import ArtifactStore, Publication, open_store
from downloader.config import Settings
from tests.artifacts.faults import proxied
from tests.certificates import certificate
from tests.swift.server import DOMAIN, Swift, available, running

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
        s3_use_ssl=False,
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


@pytest.fixture(scope="session")
def tls_endpoint(swift: Swift, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The server behind TLS, as ``host:port`` of a name that only ``named`` resolves, and its authority's file."""
    authority, key = certificate(tmp_path_factory.mktemp("tls"), DOMAIN, f"{swift.bucket}.{DOMAIN}")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority, key)
    with proxied(swift.endpoint, tls=tls) as proxy:
        yield f"{DOMAIN}:{proxy.server_port}", authority


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names below DOMAIN lead to this machine, as an operator's name server has it."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **kwargs: Any) -> Any:
        ours = host == DOMAIN or host.endswith(f".{DOMAIN}")
        return resolve("127.0.0.1" if ours else host, *arguments, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture(params=[pytest.param(True, id="path"), pytest.param(False, id="virtual-host")])
def tls_settings(
    request: pytest.FixtureRequest,
    tls_endpoint: tuple[str, Path],
    named: None,
    s3_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    """S3 over TLS by an authority of the operator's own, in each style of address."""
    endpoint, authority = tls_endpoint
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    return replace(s3_settings, s3_endpoint=endpoint, s3_use_ssl=True, s3_path_style=request.param)


@pytest.fixture
def s3_tls(tls_settings: Settings) -> Iterator[ArtifactStore]:
    store = open_store(tls_settings)
    yield store
    store.delete_job(JOB)
    store.close()


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
