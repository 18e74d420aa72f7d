"""Finished files: their names, and the stores that keep them (local disk, S3) behind one port.

>>> store = open_store(settings)
>>> where = store.locate(job.artifact)  # a Path, a PresignedUrl, or None when it is gone
"""

from typing import Literal

from downloader.artifacts.port import (
    ArtifactInfo,
    ArtifactStore,
    PresignedUrl,
    Publication,
    Resisted,
    Stored,
    Sweep,
    Swept,
)
from downloader.clock import Clock, SystemClock
from downloader.config import Settings

__all__ = [
    "ArtifactInfo",
    "ArtifactStore",
    "PresignedUrl",
    "Publication",
    "Resisted",
    "Stored",
    "Sweep",
    "Swept",
    "open_store",
]


def open_store(
    settings: Settings, *, kind: Literal["local", "s3"] | None = None, clock: Clock | None = None
) -> ArtifactStore:
    """The store that the settings name, or the one of ``kind`` (for rows written under other settings). No I/O.

    Raises StorageRefused when ``kind`` is s3 and no endpoint or bucket is set.
    """
    clock = clock or SystemClock()
    if (kind or settings.storage) == "local":
        from downloader.artifacts.local import LocalStore  # noqa: PLC0415 - a process loads the store it uses

        return LocalStore(settings)
    from downloader.artifacts.s3 import S3Store  # noqa: PLC0415 - boto3 costs 30 MB and half a second

    return S3Store(settings, clock)
