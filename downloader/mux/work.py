"""What the contained process does with an order: the right operation, and errors turned into ours."""

import errno
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av

from downloader.errors import DownloadError, InsufficientStorage, MediaInvalid, StorageFailed
from downloader.handoff import Media
from downloader.mux import check, formats, lanes, sink
from downloader.mux.order import Finished, Made, Order
from downloader.mux.remux import remux

_FULL = (errno.ENOSPC, errno.EDQUOT)


def perform(order: Order, advance: Callable[[float, float], None]) -> Finished:
    """Do ``order``; ``advance(done, total)`` hears seconds of media. Raises errors of downloader.errors."""
    try:
        return _perform(order, advance)
    except (av.error.FFmpegError, OSError, MemoryError) as error:
        raise translated(error) from error


def warm_up() -> None:
    """Remux a moment of nothing in memory, so that the first order finds all its code and memory in place."""
    container = formats.CONTAINERS["mp4"]
    first, second = (os.memfd_create(name) for name in ("first", "second"))
    path, copy = (Path(f"/proc/self/fd/{descriptor}") for descriptor in (first, second))
    with sink.created(path, container, Media("copy", "mp4")) as output:
        stream = output.add_mux_stream("aac", rate=48000)
        for number in range(50):
            packet = av.Packet(1024)
            packet.pts = packet.dts = number * 1024
            packet.time_base, packet.stream = Fraction(1, 48000), stream
            output.mux_one(packet)
    with av.open(str(path), "r", format="mov") as source, sink.created(copy, container, Media("copy", "mp4")) as output:
        stream = source.streams[0]
        strand = lanes.Strand(stream, sink.add_copy(output, stream, container), 0.0)
        lanes.copy([lanes.Lane(source.demux(stream), {0: strand})], output.mux_one, lambda _: None)
    check.checked(copy, container, picture=False, sound=True, seconds=strand.end)
    os.close(first)
    os.close(second)


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
