"""One file on its way to S3: a single PUT, or a multipart upload of parallel parts that can be stopped at any time."""

import hashlib
import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import IO, TYPE_CHECKING, Final, TypedDict, TypeVar, cast

from downloader.artifacts.port import ArtifactInfo, Check, Progress
from downloader.artifacts.s3_client import POLL_SECONDS, S3_ERRORS, Stopped, attempt

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

T = TypeVar("T")

_MIB: Final = 1 << 20
MIN_PART: Final = 8 << 20  # bytes; S3 takes 5 MiB and more
MAX_PARTS: Final = 10_000
_PART_SIZES: Final = 8
CONNECTIONS: Final = 4
DIGEST_KEY: Final = "sha256-blocks"  # in the object's metadata
_SLICE: Final = 256 << 10  # bytes read at once, whatever is asked: the HTTP client would ask for less
_DIGEST_BLOCK: Final = 8 << 20
_DIGEST_SLICE: Final = 1 << 20  # bytes read at once: what was read is still in the processor's cache when it is hashed
_GRACE_SECONDS: Final = 0.6  # for requests under way to notice that they are to stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What goes where: ``digest`` is the file's (see ``digest``), kept in the object's metadata.

    ``conditional`` refuses to replace an object (``If-None-Match: *``).
    """

    bucket: str
    key: str
    source: Path
    epoch: int
    size: int
    digest: str
    content_type: str
    disposition: str
    conditional: bool

    def is_of(self, found: ArtifactInfo) -> bool:
        """True when what stands under the key is this file: same size, same digest."""
        return (found.size, found.digest) == (self.size, self.digest)


def part_size(size: int, epoch: int) -> int:
    """Bytes of each part of a file: whole MiB, at least 8, so many that 10,000 parts suffice.

    Differs from one epoch to the next, and with it the ETag of the whole: so a sweep can tell the upload that became
    the object from one that was left behind with the same parts.
    """
    return max(MIN_PART, math.ceil(size / MAX_PARTS / _MIB) * _MIB) + epoch % _PART_SIZES * _MIB


def etag(parts: Iterable[str]) -> str:
    """The ETag of an object made of parts with these ETags: the MD5 of their MD5s, and their number.

    Of ETags that are no MD5s (some encrypted buckets) it is one that no object has.
    """
    try:
        digests = [bytes.fromhex(part.strip('"')) for part in parts]
    except ValueError:
        return "unknown"
    return f'"{hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"'


def digest(source: Path, check: Check) -> str:
    """The hex SHA-256 of the SHA-256s of the file's blocks of 8 MiB: several cores find it at once, before the upload.

    It goes with the first request, so nothing can be sent while it is not known.
    """
    with source.open("rb", buffering=0) as file, ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="digest") as pool:
        starts = range(0, os.fstat(file.fileno()).st_size, _DIGEST_BLOCK)
        whole, blocks = hashlib.sha256(), pool.map(partial(_block_digest, file.fileno()), starts)
        try:
            for block in blocks:
                whole.update(block)
                check()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return whole.hexdigest()


def _block_digest(descriptor: int, start: int) -> bytes:
    found = hashlib.sha256()
    for offset in range(start, start + _DIGEST_BLOCK, _DIGEST_SLICE):
        found.update(os.pread(descriptor, _DIGEST_SLICE, offset))
    return found.digest()


class _Condition(TypedDict, total=False):
    IfNoneMatch: str


class Slice:
    """A piece of a file as an HTTP body: reads fail once ``stop`` is set, which ends the request under way."""

    def __init__(self, descriptor: int, offset: int, size: int, stop: Event) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._size = size
        self._stop = stop
        self._position = 0

    def __len__(self) -> int:
        return self._size

    def read(self, _size: int = -1) -> bytes:
        """The next bytes, up to 256 KiB whatever is asked for; none at the end."""
        if self._stop.is_set():
            raise Stopped
        wanted = min(_SLICE, self._size - self._position)
        data = os.pread(self._descriptor, wanted, self._offset + self._position)
        self._position += len(data)
        return data

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """As files do."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + position
        return self._position

    def tell(self) -> int:
        """As files do."""
        return self._position


class Transfer:
    """One upload: a small file by one PUT, others in parallel parts. ``stands`` looks whether the object is there."""

    def __init__(
        self,
        client: "S3Client",
        upload: Upload,
        *,
        stands: Callable[[], bool],
        progress: Progress,
        check: Check,
    ) -> None:
        self._stands = stands
        self._client = client
        self._upload = upload
        self._progress = progress
        self._check = check
        self._stop = Event()
        self._file = upload.source.open("rb", buffering=0)
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="upload")
        self._upload_id: str | None = None

    def run(self) -> None:
        """Upload the file whole; raises an S3 error, or what ``check`` raises, within a second.

        However it ends but by success, no part is left, unless the server cannot be told; the sweep finds those.
        """
        try:
            if self._upload.size <= MIN_PART:
                self._check()
                self._await(self._submit(self._put))
            else:
                self._send_parts()
        except BaseException:
            self._stop.set()
            cleaner = Thread(target=self._clean, name="upload-clean", daemon=True)
            cleaner.start()
            cleaner.join(_GRACE_SECONDS)
            raise
        self._clean()

    def _send_parts(self) -> None:
        upload, step = self._upload, part_size(self._upload.size, self._upload.epoch)
        self._await(self._submit(self._create))
        numbers = {
            self._submit(partial(self._send_part, number, offset, step)): number
            for number, offset in enumerate(range(0, upload.size, step), start=1)
        }
        parts: dict[int, str] = {}
        pending: set[Future[str]] = set(numbers)
        while pending:
            finished, pending = wait(pending, POLL_SECONDS, FIRST_COMPLETED)
            self._check()
            parts.update((numbers[future], future.result()) for future in finished)
            self._progress(min(len(parts) * step, upload.size), upload.size)
        self._check()
        self._complete([{"PartNumber": number, "ETag": parts[number]} for number in sorted(parts)])

    def _put(self) -> None:
        upload = self._upload
        self._client.put_object(
            Bucket=upload.bucket,
            Key=upload.key,
            Body=self._slice(0, upload.size),
            ContentType=upload.content_type,
            ContentDisposition=upload.disposition,
            Metadata={DIGEST_KEY: upload.digest},
            **self._condition(),
        )

    def _create(self) -> None:
        upload = self._upload
        self._upload_id = self._client.create_multipart_upload(
            Bucket=upload.bucket,
            Key=upload.key,
            ContentType=upload.content_type,
            ContentDisposition=upload.disposition,
            Metadata={DIGEST_KEY: upload.digest},
        )["UploadId"]

    def _send_part(self, number: int, offset: int, step: int) -> str:
        upload = self._upload
        answer = self._client.upload_part(
            Bucket=upload.bucket,
            Key=upload.key,
            UploadId=self._upload_id or "",
            PartNumber=number,
            Body=self._slice(offset, min(step, upload.size - offset)),
        )
        return answer["ETag"]

    def _complete(self, parts: "list[CompletedPartTypeDef]") -> None:
        """From here on the object may appear at any time: nothing asks for a cancel any more."""
        upload, upload_id = self._upload, self._upload_id or ""
        try:
            attempt(
                lambda: self._client.complete_multipart_upload(
                    Bucket=upload.bucket,
                    Key=upload.key,
                    UploadId=upload_id,
                    MultipartUpload={"Parts": parts},
                    **self._condition(),
                ),
                self._stop,
            )
        except S3_ERRORS:
            # The server may still be at it: an abort now could take parts from under a finished object.
            self._upload_id = None
            if self._stands():
                return  # the reply was lost, not the object
            self._upload_id = upload_id
            raise

    def _condition(self) -> _Condition:
        return {"IfNoneMatch": "*"} if self._upload.conditional else {}

    def _slice(self, offset: int, size: int) -> IO[bytes]:
        return cast("IO[bytes]", Slice(self._file.fileno(), offset, size, self._stop))

    def _submit(self, call: Callable[[], T]) -> Future[T]:
        return self._pool.submit(attempt, call, self._stop)

    def _await(self, future: Future[T]) -> T:
        while not wait([future], POLL_SECONDS).done:
            self._check()
        return future.result()

    def _clean(self) -> None:
        """End the threads, then the upload when it did not succeed: no part may arrive after the abort."""
        self._pool.shutdown(cancel_futures=True)
        self._file.close()
        if self._stop.is_set() and self._upload_id:
            upload, upload_id = self._upload, self._upload_id
            with suppress(*S3_ERRORS):
                attempt(
                    lambda: self._client.abort_multipart_upload(
                        Bucket=upload.bucket, Key=upload.key, UploadId=upload_id
                    ),
                    Event(),
                )
