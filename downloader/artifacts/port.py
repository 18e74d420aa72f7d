"""The port that every artifact store stands behind, and the values that cross it.

An artifact is addressed by its ``locator`` alone, which never changes once a row holds it. A store writes under
``artifacts/<job id>/`` and nowhere else; whether an artifact exists for clients is for the job's row to say.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

from downloader import errors
from downloader.job import Artifact, Sidecar

Stored = Artifact | Sidecar
"""What stands in a store: both kinds carry locator, name, content type and size."""

Select = Callable[[Sequence[str]], Collection[str]]
"""Of the job ids given, those for which something holds; asked after files were listed, a few hundred at a time."""

JOB_ID: Final = re.compile(r"[0-9A-Za-z_-]{8,64}")
"""What a job's id looks like, old ones too; anything else (``lost+found``) is not ours to touch."""

_NAME: Final = re.compile(r"[^./\x00-\x1f][^/\x00-\x1f]*")
_MAX_NAME: Final = 244

Progress = Callable[[int, int], None]
Check = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One file to publish: ``name`` as clients will see it, ``epoch`` of the step that publishes.

    Raises ValueError when the id is no job's, or the name is not a single, visible part of a path of at most 244 bytes
    (which leaves an epoch its place before it).
    """

    job_id: str
    name: str
    content_type: str
    epoch: int

    def __post_init__(self) -> None:
        if not JOB_ID.fullmatch(self.job_id):
            raise ValueError("not a job's id")
        if not _NAME.fullmatch(self.name) or len(self.name.encode()) > _MAX_NAME:
            raise ValueError("not a file's name")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactInfo:
    """What the store itself knows: size in bytes, hex SHA-256 or empty, time of last change (aware, UTC)."""

    size: int
    digest: str
    modified: datetime


class PresignedUrl(NamedTuple):
    """A URL that serves an artifact for a while. A secret: never log it.

    ``internal``: signed for an endpoint that only this deployment reaches, so whoever relays the answer must fetch it
    (the header ``X-TypeType-Artifact-Proxy: 1``).
    """

    url: str
    internal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What may stay, by the database's state.

    ``keep`` names the jobs whose files stay; ``running`` those with a step under way, whose unfinished parts are never
    touched. Other unfinished parts go when they were begun before ``parts_before``. A dry run only counts.
    """

    keep: Select
    running: Select
    parts_before: datetime
    dry_run: bool = False

    def stays(self, ids: Sequence[str]) -> set[str]:
        """Of ``ids``, the jobs whose files must stay."""
        # In this order: a job that ends in between is then still seen, with its artifact standing.
        return {*self.running(ids), *self.keep(ids)}


@dataclass(frozen=True, slots=True)
class Resisted:
    """What a sweep could not remove: a job's id, or another name for it."""

    what: str
    error: errors.DownloadError


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep removed (or would): jobs' folders, unfinished parts or uploads, and the bytes of both."""

    jobs: int = 0
    parts: int = 0
    bytes_freed: int = 0
    resisted: tuple[Resisted, ...] = ()

    def __add__(self, other: "Swept") -> "Swept":
        return Swept(
            jobs=self.jobs + other.jobs,
            parts=self.parts + other.parts,
            bytes_freed=self.bytes_freed + other.bytes_freed,
            resisted=self.resisted + other.resisted,
        )

    @classmethod
    def by(cls, remove: "Callable[[], Swept]", what: str) -> "Swept":
        """What ``remove`` removed; where ``what`` resists, that is noted, and the sweep goes on with the rest.

        Raises StoreUnavailable: nothing is removed that the database was not asked about.
        """
        try:
            return remove()
        except errors.StoreUnavailable:
            raise
        except errors.DownloadError as error:
            return cls(resisted=(Resisted(what, error),))


class ArtifactStore(Protocol):
    """Where finished files live. Methods block, may be called from several threads, and raise errors of ours only."""

    @property
    def kind(self) -> Literal["local", "s3"]:
        """What ``Artifact.storage`` says of its artifacts."""

    def put(self, source: Path, publication: Publication, *, progress: Progress, check: Check) -> Artifact:
        """Publish ``source`` and return its artifact (without ``expires_at``); ``source`` stays where it is.

        Idempotent: the same file again, also after a crash at any point, gives the same artifact. Nothing that stands
        is ever replaced: where another file has the name, the locator differs (and the name does not), so a process
        that lost its lease cannot change what a newer one published. ``progress(done, total)`` gets bytes;
        ``check()`` is called at least each half second and right before the file appears, and what it raises ends the
        call within a second, leaving nothing behind. Raises InsufficientStorage, StorageFailed, StorageRefused.
        """

    def head(self, artifact: Stored) -> ArtifactInfo | None:
        """What stands under the artifact's locator; None when nothing does."""

    def locate(
        self, artifact: Stored, *, inline: bool = False, until: datetime | None = None
    ) -> Path | PresignedUrl | None:
        """Where to get the bytes: a path (local), a presigned URL (s3), or None when the artifact is gone.

        A path is that of a regular file under ``artifacts/<job id>/``, reached by no symbolic link. A URL lives as
        long as ARTIFACT_URL_TTL_SECONDS says, never beyond the artifact's ``expires_at`` or ``until`` (which a sidecar
        needs: it ends with its artifact). ``inline`` asks browsers to show it.
        """

    def delete(self, artifact: Stored) -> int:
        """Remove one file and return the bytes freed; 0 when it was gone."""

    def delete_job(self, job_id: str) -> int:
        """Remove everything of a job, also unfinished parts, and return the bytes freed."""

    def sweep(self, sweep: Sweep) -> Swept:
        """Remove what the database knows no more; what resists keeps no other. Raises when nothing can be listed."""

    def health(self) -> None:
        """Return when the store could take a file now; raises StorageFailed or StorageRefused, within 2 seconds."""

    def close(self) -> None:
        """End what is held open."""
