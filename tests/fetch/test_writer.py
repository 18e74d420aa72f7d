"""Writes beside the loop: the bytes, the bound, the errors."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from downloader.fetch.writer import GATHER, Writer
from tests.fetch.conftest import Bench, video
from tests.origin import Call, Origin, media_bytes


class Heard:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int]] = []
        self.errors: list[OSError] = []

    def wrote(self, start: int, end: int) -> None:
        self.spans.append((start, end))

    def unwritten(self, error: OSError) -> None:
        self.errors.append(error)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def test_every_byte_is_in_its_place(file: int) -> None:
    body, writer, sink = media_bytes(3 * GATHER + 5), Writer(), Heard()
    for start in range(0, 3 * GATHER, GATHER):
        writer.write(sink, file, [body[start : start + GATHER]], start, GATHER)
    writer.write(sink, file, [b"", body[3 * GATHER :]], 3 * GATHER, 5)
    writer.settle()
    assert sorted(sink.spans) == [(start, min(start + GATHER, len(body))) for start in range(0, len(body), GATHER)]
    assert os.pread(file, len(body), 0) == body
    writer.close()


def test_small_batches_start_no_thread(file: int) -> None:
    before, writer, sink = threading.active_count(), Writer(), Heard()
    writer.write(sink, file, [b"abc"], 7, 3)
    assert threading.active_count() == before
    assert sink.spans == [(7, 10)]
    writer.close()


def test_what_waits_is_bounded(file: int) -> None:
    writer, sink, batch = Writer(), Heard(), [bytes(GATHER)]
    for number in range(1, 65):
        writer.write(sink, file, batch, 0, GATHER)
        assert number - len(sink.spans) <= 8
    writer.write(sink, file, [b"small"], GATHER, 5)
    writer.close()
    assert len(sink.spans) == 65
    assert sink.spans[-1] == (GATHER, GATHER + 5)


def test_a_failed_write_reaches_its_sink(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    writer, sink = Writer(), Heard()
    writer.write(sink, fd, [bytes(GATHER)], 0, GATHER)
    writer.settle()
    assert [error.errno for error in sink.errors] == [errno.EBADF]
    assert sink.spans == []
    with pytest.raises(OSError, match="Bad file"):
        writer.write(sink, fd, [b"small"], 0, 5)
    writer.close()
    os.close(fd)


def test_more_pieces_than_one_call_takes(file: int) -> None:
    writer, sink = Writer(), Heard()
    writer.write(sink, file, [b"ab"] * 5000, 0, 10_000)
    assert os.pread(file, 20_000, 0) == b"ab" * 5000
    writer.close()


def test_a_body_of_tiny_pieces(origin: Origin, bench: Bench) -> None:
    body = media_bytes(60_000)

    def script(call: Call) -> None:
        call.head(200, "Transfer-Encoding: chunked", "Content-Type: video/mp4")
        call.raw(b"".join(b"8\r\n" + body[at : at + 8] + b"\r\n" for at in range(0, len(body), 8)) + b"0\r\n\r\n")

    url = origin.add("/v.mp4", body, script=script)
    assert bench.bytes_of(bench.fetch(video(url))) == body
