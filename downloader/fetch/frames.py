"""TypeType-Server's SABR framing, read as it comes: a magic line, then frames of a 17-byte header and payload."""

import struct
from collections.abc import Mapping
from typing import Protocol

from downloader.fetch.failures import RangeRefused

MAGIC = b"TTSABR1\n"
_HEADER = struct.Struct(">BIIQ")
_INITIALIZATION, _MEDIA, _COMPLETE = 1, 2, 3
_MAX_FRAME = 256 << 20


class Output(Protocol):
    """What becomes of a track's frames of one part. Any of it may raise a DownloadError to refuse them."""

    def initialization(self, length: int) -> None:
        """The initialization begins; comes once, before all media."""

    def media(self, sequence: int, length: int) -> None:
        """A media frame of ``length`` bytes begins."""

    def write(self, data: memoryview, /) -> None:
        """The next bytes of the frame that has begun."""


class FrameReader:
    """Reads one part. ``outputs`` by itag.

    Every breach raises RangeRefused. ``complete`` is True after the completion frame.
    """

    def __init__(self, outputs: Mapping[int, Output]) -> None:
        self.complete = False
        self._outputs = outputs
        self._held = b""
        self._started = False
        self._left = 0
        self._itag = 0
        self._sequence: dict[int, int] = {}
        self._initialized: set[int] = set()

    def feed(self, data: bytes) -> None:
        """The next bytes of the body, however they are cut."""
        view = memoryview(data)
        while view:
            if self._left:
                payload = view[: self._left]
                self._outputs[self._itag].write(payload)
                self._left -= len(payload)
                view = view[len(payload) :]
                continue
            if self.complete:
                raise _breach("bytes follow its end")
            wanted = _HEADER.size if self._started else len(MAGIC)
            missing = wanted - len(self._held)
            self._held += bytes(view[:missing])
            view = view[missing:]
            if len(self._held) == wanted:
                held, self._held = self._held, b""
                self._header(held)

    def _header(self, held: bytes) -> None:
        if not self._started:
            if held != MAGIC:
                raise _breach("it does not begin as one")
            self._started = True
            return
        kind, itag, sequence, length = _HEADER.unpack(held)
        if length > _MAX_FRAME:
            raise _breach("a frame is too long")
        if kind == _COMPLETE:
            if itag or sequence or length or self._initialized != set(self._outputs):
                raise _breach("it ends in the wrong way")
            self.complete = True
            return
        if itag not in self._outputs:
            raise _breach("it holds a track that was not asked for")
        self._left, self._itag = length, itag
        if kind == _INITIALIZATION:
            self._initialize(itag, sequence)
            self._outputs[itag].initialization(length)
        elif kind == _MEDIA:
            self._media(itag, sequence)
            self._outputs[itag].media(sequence, length)
        else:
            raise _breach("it holds an unknown frame")

    def _initialize(self, itag: int, sequence: int) -> None:
        if itag in self._initialized or itag in self._sequence or sequence:
            raise _breach("an initialization is out of place")
        self._initialized.add(itag)

    def _media(self, itag: int, sequence: int) -> None:
        last = self._sequence.get(itag)
        if itag not in self._initialized or (last is not None and sequence != last + 1):
            raise _breach("its media is out of order")
        self._sequence[itag] = sequence


def _breach(what: str) -> RangeRefused:
    return RangeRefused(f"TypeType-Server's stream is broken: {what}.")
