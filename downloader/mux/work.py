"""What the contained process does with an order: the right operation, and errors turned into ours."""

import errno
from collections.abc import Callable
from pathlib import Path

import av

from downloader.errors import DownloadError, InsufficientStorage, MediaInvalid, StorageFailed
from downloader.mux import formats
from downloader.mux.order import Finished, Made, Order
from downloader.mux.remux import remux

_FULL = (errno.ENOSPC, errno.EDQUOT)


def perform(order: Order, advance: Callable[[float, float], None]) -> Finished:
    """Do ``order``; ``advance(done, total)`` hears seconds of media. Raises errors of downloader.errors."""
    try:
        return _perform(order, advance)
    except (av.error.FFmpegError, OSError, MemoryError) as error:
        raise translated(error) from error


def translated(error: BaseException) -> DownloadError:
    """Our error for one of FFmpeg's or the system's. It names no path: FFmpeg's messages may."""
    code = getattr(error, "errno", None)
    if code in _FULL:
        return InsufficientStorage("The disk filled up while the file was being made.")
    if code == errno.EFBIG:
        return MediaInvalid("The output grew far larger than its input.")
    if code == errno.ENOMEM or isinstance(error, MemoryError):
        return MediaInvalid("The media needs more memory than it may have.")
    if code == errno.EIO:
        return StorageFailed("The disk failed while the file was being made.")
    said = getattr(error, "strerror", None) or type(error).__name__
    return MediaInvalid(f"The media cannot be read: {said}.")


def _perform(order: Order, advance: Callable[[float, float], None]) -> Finished:
    work = Path(order.work)
    extension = formats.container(order.media.container).name
    path = work / f"{order.stem}.{extension}"
    done = remux(work, path, order.tracks, order.media, advance)
    made = Made(
        path=path.name,
        size=path.stat().st_size,
        extension=done.container.name,
        content_type=formats.content_type(done.container, picture=done.picture),
    )
    return Finished(
        main=made,
        container=done.container.name,
        duration_ms=round(done.seconds * 1000),
        warnings=done.warnings,
    )
