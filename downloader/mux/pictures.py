"""Still pictures: thumbnails as artifacts and as cover art, in JPEG, decoded and encoded by FFmpeg."""

import base64
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from downloader.errors import MediaInvalid

LIMIT = 64 << 20
"""Bytes: no picture is larger."""

_MAX_PIXELS = 50_000_000
_CODECS = ((b"\xff\xd8\xff", "mjpeg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"RIFF", "webp"))
_FRONT_COVER = 3  # of the picture types in FLAC's and ID3's metadata


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A picture in JPEG; ``width`` and ``height`` in pixels."""

    data: bytes
    width: int
    height: int


def jpeg(data: bytes) -> Jpeg:
    """The picture as JPEG: as it is when it is one, else converted from PNG or WebP. Raises MediaInvalid otherwise."""
    codec = next((name for magic, name in _CODECS if data.startswith(magic)), None)
    if codec is None or len(data) > LIMIT or (codec == "webp" and data[8:12] != b"WEBP"):
        raise MediaInvalid("The picture is of a kind that cannot be read.")
    try:
        frame = _decoded(data, codec)
        made = data if codec == "mjpeg" else _encoded(frame)
    except (av.error.FFmpegError, MemoryError) as error:
        raise MediaInvalid("The picture cannot be read.") from error
    return Jpeg(made, frame.width, frame.height)


def flac_picture(cover: Jpeg) -> str:
    """The cover as Ogg files carry it: a FLAC picture block (RFC 9639, section 8.8) in base64."""
    kind = b"image/jpeg"
    head = struct.pack(">II", _FRONT_COVER, len(kind)) + kind + struct.pack(">I", 0)
    shape = struct.pack(">IIII", cover.width, cover.height, 24, 0)
    return base64.b64encode(head + shape + struct.pack(">I", len(cover.data)) + cover.data).decode("ascii")


def _decoded(data: bytes, codec: str) -> Any:
    context: Any = av.CodecContext.create(codec, "r")
    context.options = {"max_pixels": str(_MAX_PIXELS)}
    frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    if not frames:
        raise MediaInvalid("The picture cannot be read.")
    return frames[0]


def _encoded(frame: Any) -> bytes:
    context: Any = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt = frame.width, frame.height, "yuvj420p"
    context.time_base = Fraction(1, 25)
    context.options = {"qmin": "2", "qmax": "2"}
    made = frame.reformat(format="yuvj420p")
    made.pts = 0
    return b"".join(bytes(packet) for packet in (*context.encode(made), *context.encode(None)))
