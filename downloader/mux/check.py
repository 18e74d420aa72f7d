"""The output check: a file counts only when it opens again and holds what it should. Header and index, no full read."""

from pathlib import Path

import av

from downloader.errors import MediaInvalid
from downloader.mux.formats import Container
from downloader.mux.inputs import picture_of, sound_of

_ABSURD = 60.0  # seconds beyond twice the length that was promised
_DEMUXER = {"mp4": "mov", "webm": "matroska", "opus": "ogg"}


def tolerance(seconds: float) -> float:
    """How far a length may be off: a second or a hundredth, whichever is more."""
    return max(1.0, seconds / 100)


def compared(seconds: float, promised: float) -> tuple[str, ...]:
    """A warning when the length is not what the source promised (0: nothing); MediaInvalid when it is absurd."""
    if not promised or abs(seconds - promised) <= tolerance(promised):
        return ()
    if seconds > 2 * promised + _ABSURD:
        raise MediaInvalid(f"The media is {seconds:.0f} s long instead of {promised:.0f} s.")
    return (f"The file is {seconds:.0f} s long; the source says {promised:.0f} s.",)


def checked(path: Path, container: Container, *, picture: bool, sound: bool, seconds: float) -> float:
    """The length in seconds that the file itself says. Raises MediaInvalid when it is not what was to be made."""
    demuxer = _DEMUXER.get(container.muxer, container.muxer)
    # The header says all that is looked at here: nothing is decoded, which took 1 ms and more.
    options = {"format_whitelist": demuxer, "protocol_whitelist": "file", "codec_whitelist": "none"}
    try:
        with av.open(str(path), "r", format=demuxer, options=options, metadata_errors="replace") as made:
            found = picture_of(made) is not None, sound_of(made) is not None
            length = (made.duration or 0) / av.time_base
    except av.error.FFmpegError as error:
        raise MediaInvalid("The finished file does not open again.") from error
    if found != (picture, sound):
        raise MediaInvalid("The finished file does not hold the expected streams.")
    if abs(length - seconds) > tolerance(seconds):
        raise MediaInvalid(f"The finished file is {length:.1f} s long instead of {seconds:.1f} s.")
    return length
