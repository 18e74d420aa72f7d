"""What stands in a bucket under ``artifacts/``: looked up, listed and removed; every error is one of ours."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from threading import Event
from typing import TYPE_CHECKING, Final, TypeVar

from botocore.exceptions import ClientError

from downloader import errors
from downloader.artifacts.port import JOB_ID, ArtifactInfo
from downloader.artifacts.s3_client import S3_ERRORS, attempt, code, failure, missing
from downloader.artifacts.s3_upload import DIGEST_KEY, etag

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

PREFIX: Final = "artifacts/"
KEY: Final = re.compile(rf"{PREFIX}({JOB_ID.pattern})/(?!\.+$)[^/\x00-\x1f]+")
"""A key of ours, with the job's id."""


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """A multipart upload that was neither completed nor aborted; ``begun`` aware, UTC."""

    job_id: str
    key: str
    upload_id: str
    begun: datetime


class Bucket:
    """The objects and unfinished uploads of ours in one bucket."""

    def __init__(self, client: "S3Client", name: str) -> None:
        self._client = client
        self._name = name

    def head(self, key: str) -> ArtifactInfo | None:
        """What the server knows of an object; None when there is none."""
        try:
            found = attempt(lambda: self._client.head_object(Bucket=self._name, Key=key), Event())
        except S3_ERRORS as error:
            if isinstance(error, ClientError) and missing(error):
                return None
            raise failure(error) from error
        return ArtifactInfo(
            size=found["ContentLength"],
            digest=found["Metadata"].get(DIGEST_KEY, ""),
            modified=found["LastModified"],
        )

    def probe(self) -> None:
        """Ask for the bucket once; raises StorageFailed or StorageRefused."""
        try:
            self._client.head_bucket(Bucket=self._name)
        except S3_ERRORS as error:
            if isinstance(error, ClientError) and missing(error):
                raise errors.StorageRefused("The artifact store has no such bucket.") from error
            raise failure(error) from error

    def delete(self, key: str) -> None:
        """Remove one object, if it is there."""
        self._call(lambda: self._client.delete_object(Bucket=self._name, Key=key))

    def delete_all(self, prefix: str, *, dry_run: bool = False) -> int:
        """Remove every object under ``prefix`` (they are few) and return their bytes."""
        freed = 0
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=prefix)
        for page in self._pages(iter(pages)):
            for item in page.get("Contents", ()):
                freed += item["Size"]
                if not dry_run:
                    self.delete(item["Key"])
        return freed

    def job_ids(self) -> Iterator[str]:
        """The ids of all jobs that have objects."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=PREFIX, Delimiter="/")
        for page in self._pages(iter(pages)):
            for item in page.get("CommonPrefixes", ()):
                job_id = item["Prefix"].removeprefix(PREFIX).rstrip("/")
                if JOB_ID.fullmatch(job_id):
                    yield job_id

    def uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        """The unfinished uploads under ``prefix``."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._name, Prefix=prefix)
        for page in self._pages(iter(pages)):
            for item in page.get("Uploads", ()):
                key = KEY.fullmatch(item["Key"])
                if key:
                    yield UnfinishedUpload(key[1], item["Key"], item["UploadId"], item["Initiated"])

    def abort(self, upload: UnfinishedUpload, *, dry_run: bool = False) -> int | None:
        """Abort an upload and return the bytes of its parts; None when it ended meanwhile, or has become an object.

        A server may lose the news that an upload was completed (Swift, stopped at the wrong moment): an abort would
        then take the parts from under the object.
        """
        bucket, key, upload_id = self._name, upload.key, upload.upload_id
        try:
            pages = self._client.get_paginator("list_parts").paginate(Bucket=bucket, Key=key, UploadId=upload_id)
            parts = [part for page in pages for part in page.get("Parts", ())]
            if parts and self._etag(key) == etag(part["ETag"] for part in parts):
                return None
            if not dry_run:
                attempt(
                    lambda: self._client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id), Event()
                )
        except S3_ERRORS as error:
            if isinstance(error, ClientError) and code(error) == "NoSuchUpload":
                return None
            raise failure(error) from error
        return sum(part["Size"] for part in parts)

    def _etag(self, key: str) -> str:
        try:
            return self._client.head_object(Bucket=self._name, Key=key)["ETag"]
        except ClientError as error:
            if missing(error):
                return ""
            raise

    def _call(self, call: Callable[[], T]) -> T:
        try:
            return attempt(call, Event())
        except S3_ERRORS as error:
            raise failure(error) from error

    def _pages(self, pages: Iterator[T]) -> Iterator[T]:
        """``pages`` one by one; a page that fails for a moment is asked for again."""
        while True:
            page = self._call(lambda: next(pages, None))
            if page is None:
                return
            yield page
