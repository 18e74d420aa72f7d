"""Artifacts in an S3 bucket: ``artifacts/<job id>/<name>``. For any server that speaks S3; tested against Swift."""

import math
from dataclasses import replace
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from downloader import disk, errors
from downloader.artifacts import folders
from downloader.artifacts.names import content_disposition
from downloader.artifacts.port import (
    JOB_ID,
    ArtifactInfo,
    Check,
    PresignedUrl,
    Progress,
    Publication,
    Stored,
    Sweep,
    Swept,
)
from downloader.artifacts.s3_bucket import KEY, PREFIX, Bucket, UnfinishedUpload
from downloader.artifacts.s3_client import S3_ERRORS, connect, endpoint_url, failure, polled, taken, unsupported
from downloader.artifacts.s3_upload import Transfer, Upload, digest
from downloader.clock import Clock
from downloader.config import Settings
from downloader.job import Artifact

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONNECTIONS: Final = 16
_HEALTH_SECONDS: Final = 1.0  # to connect, and again to answer


class S3Store:
    """An ArtifactStore in a bucket."""

    kind: Final = "s3"

    def __init__(self, settings: Settings, clock: Clock) -> None:
        if not settings.s3_endpoint or not settings.s3_bucket:
            raise errors.StorageRefused("No S3 endpoint and bucket are set.")
        self._settings = settings
        self._endpoint = endpoint_url(settings.s3_endpoint, tls=settings.s3_use_ssl)
        public = settings.s3_public_endpoint or self._endpoint
        self._public_endpoint = endpoint_url(public, tls=settings.s3_public_use_ssl)
        self._name = settings.s3_bucket
        self._clock = clock
        self._client = connect(settings, self._endpoint, connections=_CONNECTIONS)
        self._bucket = Bucket(self._client, self._name)
        self._conditional = True

    @property
    def _internal(self) -> bool:
        return self._public_endpoint == self._endpoint

    @cached_property
    def _signer(self) -> "S3Client":
        return self._client if self._internal else connect(self._settings, self._public_endpoint)

    @cached_property
    def _prober(self) -> "S3Client":
        return connect(self._settings, self._endpoint, connections=1, seconds=_HEALTH_SECONDS)

    def put(self, source: Path, publication: Publication, *, progress: Progress, check: Check) -> Artifact:
        """See ArtifactStore. Uploads over several connections; the object is checked by size and digest."""
        size = 0
        try:
            size, checksum = source.stat().st_size, digest(source, check)
            for name in (publication.name, f"{publication.epoch}-{publication.name}"):
                upload = Upload(
                    bucket=self._name,
                    key=f"{PREFIX}{publication.job_id}/{name}",
                    source=source,
                    epoch=publication.epoch,
                    size=size,
                    digest=checksum,
                    content_type=publication.content_type,
                    disposition=content_disposition(publication.name),
                    conditional=self._conditional,
                )
                if self._publish(upload, progress, check):
                    break
            else:
                raise errors.StorageFailed("Another object has the artifact's name.")
        except OSError as error:
            raise disk.failure(error, source) from error
        except S3_ERRORS as error:
            raise failure(error, required=size) from error
        progress(size, size)
        return Artifact(
            storage="s3",
            locator=upload.key,
            name=publication.name,
            size=size,
            content_type=publication.content_type,
            digest=checksum,
        )

    def head(self, artifact: Stored) -> ArtifactInfo | None:
        """See ArtifactStore."""
        return self._bucket.head(artifact.locator) if KEY.fullmatch(artifact.locator) else None

    def locate(self, artifact: Stored, *, inline: bool = False, until: datetime | None = None) -> PresignedUrl | None:
        """See ArtifactStore. Looks once whether the object is there: a URL to nothing would only fail elsewhere."""
        return self.presign(artifact, inline=inline, until=until) if self.head(artifact) else None

    def presign(self, artifact: Stored, *, inline: bool = False, until: datetime | None = None) -> PresignedUrl:
        """A URL that answers with the artifact's type and name, for the public endpoint where there is one. No I/O."""
        ends = [artifact.expires_at if isinstance(artifact, Artifact) else None, until]
        left = min(((end - self._clock.now()).total_seconds() for end in ends if end), default=math.inf)
        url = self._signer.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self._name,
                "Key": artifact.locator,
                "ResponseContentDisposition": content_disposition(artifact.name, inline=inline),
                "ResponseContentType": artifact.content_type,
            },
            ExpiresIn=max(1, int(min(self._settings.artifact_url_ttl_seconds, left))),
        )
        return PresignedUrl(url=url, internal=self._internal)

    def delete(self, artifact: Stored) -> int:
        """See ArtifactStore."""
        info = self.head(artifact)
        if info is None:
            return 0
        self._bucket.delete(artifact.locator)
        return info.size

    def delete_job(self, job_id: str) -> int:
        """See ArtifactStore."""
        if not JOB_ID.fullmatch(job_id):
            return 0
        prefix = f"{PREFIX}{job_id}/"
        # The objects go first: an upload that has become one is then one of the rest.
        objects = self._bucket.delete_all(prefix)
        return objects + sum(self._bucket.abort(upload) or 0 for upload in list(self._bucket.uploads(prefix)))

    def sweep(self, sweep: Sweep) -> Swept:
        """See ArtifactStore. Unfinished parts are multipart uploads: few servers expire those by themselves."""
        swept = Swept()
        for ids in folders.batches(self._bucket.job_ids()):
            for job_id in set(ids) - sweep.stays(ids):
                swept += Swept.by(partial(self._sweep_job, job_id, dry_run=sweep.dry_run), job_id)
        old = [upload for upload in self._bucket.uploads(PREFIX) if upload.begun < sweep.parts_before]
        for ids in folders.batches(iter({upload.job_id for upload in old})):
            rest = set(ids) - set(sweep.running(ids))
            for upload in old:
                if upload.job_id in rest:
                    swept += Swept.by(partial(self._sweep_upload, upload, dry_run=sweep.dry_run), upload.job_id)
        return swept

    def _sweep_job(self, job_id: str, *, dry_run: bool) -> Swept:
        return Swept(jobs=1, bytes_freed=self._bucket.delete_all(f"{PREFIX}{job_id}/", dry_run=dry_run))

    def _sweep_upload(self, upload: UnfinishedUpload, *, dry_run: bool) -> Swept:
        aborted = self._bucket.abort(upload, dry_run=dry_run)
        return Swept(parts=aborted is not None, bytes_freed=aborted or 0)

    def health(self) -> None:
        """See ArtifactStore."""
        Bucket(self._prober, self._name).probe()

    def close(self) -> None:
        """See ArtifactStore."""
        # Those that were never asked for were never made.
        for name in ("_client", "_signer", "_prober"):
            if name in vars(self):
                vars(self)[name].close()

    def _publish(self, upload: Upload, progress: Progress, check: Check) -> bool:
        """Make the object under the upload's key this file; False when another has it."""
        found = polled(lambda: self._bucket.head(upload.key), check)
        if found:
            return upload.is_of(found)
        check()
        try:
            Transfer(self._client, upload, stands=partial(self._stands, upload), progress=progress, check=check).run()
        except S3_ERRORS as error:
            if upload.conditional and unsupported(error):
                self._conditional = False
                return self._publish(replace(upload, conditional=False), progress, check)
            if taken(error):
                return self._stands(upload)
            raise
        if not self._stands(upload):
            raise errors.StorageFailed("The artifact store did not keep what it was sent.")
        return True

    def _stands(self, upload: Upload) -> bool:
        found = self._bucket.head(upload.key)
        return found is not None and upload.is_of(found)
