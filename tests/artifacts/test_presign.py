"""Presigned URLs as a client without our keys uses them: names, ranges, how long they live, whom they are signed for."""

import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from downloader.artifacts import ArtifactStore, PresignedUrl, open_store
from downloader.artifacts.names import file_name
from downloader.config import Settings
from downloader.job import Artifact, Sidecar
from tests.artifacts.conftest import JOB, publication
from tests.artifacts.titles import TITLES, saved_as

MakeSource = Callable[[bytes], Path]


def put(store: ArtifactStore, source: Path, name: str = "Title.mp4") -> Artifact:
    return store.put(source, publication(name), progress=lambda _done, _total: None, check=lambda: None)


def presigned(store: ArtifactStore, artifact: Artifact, *, inline: bool = False) -> PresignedUrl:
    where = store.locate(artifact, inline=inline)
    assert isinstance(where, PresignedUrl)
    return where


def get(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status, dict(answer.headers.items()), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers.items()), error.read()


@pytest.mark.parametrize("title", TITLES)
def test_every_title_comes_back_as_the_file_name(s3: ArtifactStore, make_source: MakeSource, title: str) -> None:
    name = file_name(title, "mp4")
    artifact = put(s3, make_source(b"media"), name)
    status, headers, content = get(presigned(s3, artifact).url)
    assert (status, content) == (200, b"media")
    assert headers["Content-Type"] == "video/mp4"
    assert saved_as(headers) == name


def test_a_range_is_served(s3: ArtifactStore, make_source: MakeSource) -> None:
    artifact = put(s3, make_source(b"0123456789"))
    status, headers, content = get(presigned(s3, artifact).url, Range="bytes=2-4")
    assert (status, content) == (206, b"234")
    assert headers["Content-Range"] == "bytes 2-4/10"


def test_inline_is_shown(s3: ArtifactStore, make_source: MakeSource) -> None:
    artifact = put(s3, make_source(b"x"))
    _, headers, _ = get(presigned(s3, artifact, inline=True).url)
    assert headers["Content-Disposition"] == 'inline; filename="Title.mp4"'


def test_a_changed_url_is_refused(s3: ArtifactStore, make_source: MakeSource) -> None:
    artifact = put(s3, make_source(b"x"))
    url = presigned(s3, artifact).url
    other = put(s3, make_source(b"secret"), "Other.mp4")
    assert get(url.replace("Title.mp4", "Other.mp4", 1))[0] == 403
    assert get(url.replace("X-Amz-Expires=7200", "X-Amz-Expires=72000"))[0] == 403
    assert get(url.split("?")[0])[0] in (400, 403)
    assert get(presigned(s3, other).url)[2] == b"secret"


def lifetime(url: str) -> int:
    return int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0])


def test_a_url_never_outlives_its_artifact(s3_settings: Settings, make_source: MakeSource) -> None:
    store = open_store(replace(s3_settings, artifact_url_ttl_seconds=600))
    artifact = put(store, make_source(b"x"))
    now = datetime.now(UTC)
    for left, longest in ((None, 600), (6000, 600), (60, 60), (0.5, 1), (-100, 1)):
        expires = None if left is None else now + timedelta(seconds=left)
        url = presigned(store, msgspec.structs.replace(artifact, expires_at=expires)).url
        assert longest - 5 <= lifetime(url) <= longest
    sidecar = Sidecar(name=artifact.name, locator=artifact.locator)
    where = store.locate(sidecar, until=now + timedelta(seconds=60))
    assert isinstance(where, PresignedUrl)
    assert 55 <= lifetime(where.url) <= 60
    assert isinstance(store.locate(sidecar), PresignedUrl)
    store.delete_job(JOB)
    store.close()


@pytest.mark.parametrize(
    ("public", "base"),
    [
        ({}, None),
        ({"s3_public_endpoint": "{internal}", "s3_public_use_ssl": False}, None),
        ({"s3_public_endpoint": "http://{internal}"}, None),
        ({"s3_public_endpoint": "media.example.com"}, "https://media.example.com/"),
        ({"s3_public_endpoint": "media.example.com:9000"}, "https://media.example.com:9000/"),
        (
            {"s3_public_endpoint": "media.example.com:9000", "s3_public_use_ssl": False},
            "http://media.example.com:9000/",
        ),
        ({"s3_public_endpoint": "https://s3.example.com"}, "https://s3.example.com/"),
    ],
)
def test_urls_are_signed_for_the_public_endpoint(
    s3_settings: Settings, make_source: MakeSource, public: dict[str, Any], base: str | None
) -> None:
    if "s3_public_endpoint" in public:
        endpoint = public["s3_public_endpoint"].format(internal=s3_settings.s3_endpoint)
        public = {**public, "s3_public_endpoint": endpoint}
    store = open_store(replace(s3_settings, **public))
    where = presigned(store, put(store, make_source(b"x")))
    assert where.internal is (base is None)
    assert where.url.startswith(
        (base or f"http://{s3_settings.s3_endpoint}/") + f"artifacts/artifacts/{JOB}/Title.mp4?"
    )
    store.delete_job(JOB)
    store.close()


def test_keys_of_older_services_are_served(s3: ArtifactStore, make_source: MakeSource) -> None:
    put(s3, make_source(b"x"), "old name ü.mp4")
    old = Artifact("s3", f"artifacts/{JOB}/old name ü.mp4", "old name ü.mp4", 0, "application/octet-stream")
    assert get(presigned(s3, old).url)[2] == b"x"
