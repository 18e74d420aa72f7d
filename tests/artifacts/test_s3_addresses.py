"""S3 over TLS with an authority of the operator's own, and buckets in the path or in the host's name."""

import os
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3

from downloader.artifacts import ArtifactStore, PresignedUrl, open_store
from downloader.config import Settings
from downloader.errors import StorageFailed
from downloader.job import Artifact
from tests.artifacts.conftest import JOB, publication

MakeSource = Callable[[bytes], Path]


def put(store: ArtifactStore, source: Path) -> Artifact:
    return store.put(source, publication("Tïtle.mp4"), progress=lambda _done, _total: None, check=lambda: None)


@pytest.mark.parametrize("size", [1000, 20 << 20])
def test_a_file_goes_up_and_comes_back(
    s3_tls: ArtifactStore, tls_settings: Settings, make_source: MakeSource, size: int
) -> None:
    content = os.urandom(size)
    artifact = put(s3_tls, make_source(content))
    where = s3_tls.locate(artifact)
    assert isinstance(where, PresignedUrl)
    split = urlsplit(where.url)
    bucket = tls_settings.s3_bucket
    assert split.scheme == "https"
    if tls_settings.s3_path_style:
        assert (split.netloc, split.path.split("/")[1]) == (tls_settings.s3_endpoint, bucket)
    else:
        assert (split.netloc, split.path.split("/")[1]) == (f"{bucket}.{tls_settings.s3_endpoint}", "artifacts")
    with urllib3.PoolManager(ca_certs=os.environ["SSL_CERT_FILE"]) as pool:
        assert pool.request("GET", where.url).data == content
    s3_tls.health()
    assert s3_tls.delete_job(JOB) == size


def test_a_public_endpoint_has_a_style_and_a_scheme_too(tls_settings: Settings, make_source: MakeSource) -> None:
    public = replace(tls_settings, s3_public_endpoint="media.example.com")
    store = open_store(public)
    where = store.locate(put(store, make_source(b"x")))
    assert isinstance(where, PresignedUrl)
    host = "media.example.com" if tls_settings.s3_path_style else f"{tls_settings.s3_bucket}.media.example.com"
    assert where.url.startswith(f"https://{host}/")
    assert not where.internal
    store.delete_job(JOB)
    store.close()


def test_an_authority_that_nobody_vouches_for_is_not_believed(
    tls_settings: Settings, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    assert ssl.get_default_verify_paths().cafile != os.environ.get("SSL_CERT_FILE")
    store = open_store(tls_settings)
    with pytest.raises(StorageFailed, match="SSLError"):
        store.health()
    with pytest.raises(StorageFailed):
        put(store, make_source(b"x"))
    store.close()
