"""The output file: a container with its streams, tags, chapters and cover, written in one pass."""

import errno
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import av

from downloader.handoff import Media
from downloader.mux.formats import Container

_TEXT_LIMIT = 4096


class IndexTooLong(Exception):
    """The index does not fit into the room left for it in front of the media (``moov_size``)."""


@contextmanager
def created(
    target: Path | BytesIO, container: Container, media: Media, options: dict[str, str] | None = None
) -> Iterator[Any]:
    """An OutputContainer at ``target`` with the tags of ``media``; the file is whole when the block ends well."""
    # bitexact: no random ids and no clock in the file, so that the same step gives the same bytes.
    fixed = {"fflags": "+bitexact"} | ({"brand": "M4A "} if container.name == "m4a" else {})
    file = str(target) if isinstance(target, Path) else target
    output = av.open(file, "w", format=container.muxer, options=fixed | (options or {}))
    output.metadata.update(tags(media))
    try:
        yield output
    except BaseException:
        _abandon(output)
        raise
    try:
        output.close()
    except av.error.FFmpegError as error:
        if "moov_size" in (options or {}) and error.errno == errno.EINVAL:
            raise IndexTooLong from error
        raise _of_the_disk(error) from error


def writer(output: Any) -> Callable[[Any], None]:
    """What writes packets to ``output``; a failing disk is told apart from input that cannot be read."""
    mux = output.mux_one

    def write(packet: Any) -> None:
        try:
            mux(packet)
        except av.error.FFmpegError as error:
            raise _of_the_disk(error) from error

    return write


def _of_the_disk(error: Exception) -> Exception:
    """FFmpeg says EIO of damaged input as well: of output it is the system's own."""
    return OSError(errno.EIO, "write failed") if getattr(error, "errno", None) == errno.EIO else error


def add_copy(output: Any, stream: Any, container: Container) -> Any:
    """A stream of ``output`` that takes packets of ``stream`` as they are."""
    target = output.add_stream_from_template(stream, opaque=True)
    # Apple's players take HEVC only with its parameter sets in the header, which is what hvc1 promises.
    if container.moov and stream.codec_context.name == "hevc":
        target.codec_context.codec_tag = "hvc1"
    return target


def tags(media: Media) -> dict[str, str]:
    """The file's tags: a stranger's words, so without control characters and of bounded length."""
    found = {
        "title": media.title,
        "artist": media.artist,
        "date": media.date,
        "comment": media.source_url,
        "description": media.description,
    }
    return {key: clean for key, text in found.items() if (clean := cleaned(text))}


def cleaned(text: str) -> str:
    """``text`` without control characters (line breaks and tabs stay), in at most 4096 characters."""
    kept = "".join(c for c in text[: 4 * _TEXT_LIMIT] if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
    return kept.strip()[:_TEXT_LIMIT]


def _abandon(output: Any) -> None:
    """Close a file that failed; what its trailer says no longer matters."""
    try:
        output.close()
    except (av.error.FFmpegError, OSError, ValueError):
        return
