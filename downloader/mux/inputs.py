"""Opening what was fetched: a pinned demuxer on a local file, nothing else.

FFmpeg opens siblings and addresses when it may guess: a concat script named .mp4, a name that ends in .m3u8. So the
format is never probed, only one demuxer and one protocol are allowed, and external references stay off.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.stream import Discard, Disposition

from downloader.errors import MediaInvalid
from downloader.handoff import FetchedTrack
from downloader.mux.formats import DEMUXERS, id3_size, sniff

_SNIFF_BYTES = 1024


@contextmanager
def opened(work: Path, fetched: FetchedTrack, *, decoded: bool) -> Iterator[Any]:
    """The track's InputContainer; ``decoded`` says that its packets are to be decoded, not copied.

    Raises MediaInvalid when its bytes are not what they should be.
    """
    path = track_path(work, fetched)
    family = _sniffed(path) or fetched.format or fetched.track.format
    demuxer = DEMUXERS.get(family or "")
    if demuxer is None:
        raise MediaInvalid(f"The {fetched.track.kind} track is of a kind that cannot be read.")
    options = {"format_whitelist": demuxer, "protocol_whitelist": "file", "max_streams": "100"}
    if demuxer == "mov":
        # The frame rate is in the file: no pictures are read ahead to measure it, which took 2 ms and more.
        options |= {"enable_drefs": "0", "use_absolute_path": "0", "fpsprobesize": "0"}
        if not decoded:
            # So is all else that a copy needs: no decoder sees a stranger's bytes, which took 1 ms and more. But for
            # VP9: FFmpeg writes its description (vpcC) anew, and the pixel format is in the pictures alone.
            options["codec_whitelist"] = "vp9"
    source = av.open(str(path), "r", format=demuxer, options=options, metadata_errors="replace")
    try:
        yield source
    finally:
        source.close()


def track_path(work: Path, fetched: FetchedTrack) -> Path:
    """Where the track lies: a plain file directly or deeper in the work folder, never a link, never empty."""
    path = work / fetched.path
    if not path.resolve().is_relative_to(work.resolve()) or path.is_symlink() or not path.is_file():
        raise MediaInvalid(f"The {fetched.track.kind} track is missing.")
    if not path.stat().st_size:
        raise MediaInvalid(f"The {fetched.track.kind} track is empty.")
    return path


def picture_of(source: Any) -> Any:
    """The first stream of moving picture, or None; cover art does not count."""
    return next((s for s in source.streams.video if not s.disposition & Disposition.attached_pic), None)


def sound_of(source: Any) -> Any:
    """The first stream of sound, or None."""
    return next(iter(source.streams.audio), None)


def keep_only(source: Any, wanted: list[Any]) -> None:
    """Have the demuxer skip every other stream."""
    for stream in source.streams:
        if stream not in wanted:
            stream.discard = Discard.all


def _sniffed(path: Path) -> str | None:
    """The demuxer family by the file's own first bytes; a tag of ID3 may stand before MP3 and before raw AAC."""
    with path.open("rb") as file:
        head = file.read(_SNIFF_BYTES)
        tag = id3_size(head)
        if not tag:
            return sniff(head)
        file.seek(tag)
        return sniff(file.read(_SNIFF_BYTES)) or "mp3"
