"""What the contained process does with an order: the right operation, and errors turned into ours."""

import errno
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av

from downloader.errors import DownloadError, InsufficientStorage, MediaInvalid, StorageFailed
from downloader.handoff import Media
from downloader.mux import check, extras, formats, lanes, pictures, sink
from downloader.mux.inputs import track_path
from downloader.mux.order import Finished, Made, Order
from downloader.mux.remux import remux
from downloader.mux.task import Task
from downloader.mux.transcode import transcode

_FULL = (errno.ENOSPC, errno.EDQUOT)


def perform(order: Order, advance: Callable[[float, float], None]) -> Finished:
    """Do ``order``; ``advance(done, total)`` hears seconds of media. Raises errors of downloader.errors."""
    try:
        return _perform(order, advance)
    except (av.error.FFmpegError, OSError, MemoryError) as error:
        raise translated(error) from error


def warm_up() -> None:
    """Remux a moment of nothing in memory, so that forks find all code and memory in place."""
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
    if code == errno.EIO and not isinstance(error, av.error.FFmpegError):  # which says it of damaged input
        return StorageFailed("The disk failed while the file was being made.")
    said = getattr(error, "strerror", None) or type(error).__name__
    return MediaInvalid(f"The media cannot be read: {said}.")


def _perform(order: Order, advance: Callable[[float, float], None]) -> Finished:
    work, media = Path(order.work), order.media
    path = work / f"{order.stem}.{formats.container(media.container).name}"
    if media.operation == "image":
        return _image(work, path, order)
    along = extras.load(work, order.tracks, media)
    operation = transcode if media.operation == "transcode" else remux
    done = operation(Task(work, path, order.tracks, media, along, advance, order.durable))
    sidecars = extras.sidecars(work / order.stem, done.container, along, done.timeline, done.seconds)
    warnings = [*along.warnings, *done.warnings]
    if sidecars and media.subtitles == "embed":
        warnings.append(f"{done.container.name} holds no subtitles; they lie beside the file.")
    if media.chapters and done.container.chapters is None:
        warnings.append(f"{done.container.name} holds no chapters.")
    kind = formats.content_type(done.container, picture=done.picture)
    return Finished(
        main=Made(path.name, path.stat().st_size, done.container.name, kind),
        container=done.container.name,
        sidecars=tuple(sidecars),
        duration_ms=round(done.seconds * 1000),
        warnings=tuple(warnings),
    )


def _image(work: Path, path: Path, order: Order) -> Finished:
    fetched = next((one for one in order.tracks if one.track.kind == "image"), None)
    if fetched is None:
        raise MediaInvalid("The source has no thumbnail.")
    with track_path(work, fetched).open("rb") as file:
        path.write_bytes(pictures.jpeg(file.read(pictures.LIMIT + 1)).data)
    return Finished(main=Made(path.name, path.stat().st_size, "jpg", "image/jpeg"), container="jpg")
