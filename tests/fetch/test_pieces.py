"""Pieces in every order, with failures and new attempts in between: the file is always the pieces in order."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.fetch.pieces import Misplaced, PieceFile, Sink
from downloader.fetch.trackfile import TrackFile
from tests.origin import media_bytes

STEPS = st.lists(
    st.tuples(st.sampled_from(["open", "write", "complete", "fail", "again"]), st.integers(0, 7), st.integers(0, 100)),
    max_size=60,
)


class Track:
    """One track whose pieces are ``bodies``; ``known`` of them say where they belong."""

    def __init__(self, folder: Path, bodies: list[bytes], known: set[int], executor: ThreadPoolExecutor) -> None:
        self._folder = folder
        self._executor = executor
        self._bodies = bodies
        self._known = known
        self._places = list(accumulate(map(len, bodies), initial=0))
        self._epoch = 0
        self._open: dict[int, int] = {}  # how much of each open piece was written
        self._sinks: dict[int, Sink] = {}
        self.begin()

    def begin(self) -> None:
        """A new attempt takes up what the last one left."""
        self._epoch += 1
        self._open.clear()
        self.file = PieceFile(TrackFile(self._folder, "video", self._epoch, self._executor))

    def step(self, what: str, number: int, count: int) -> None:
        number %= len(self._bodies)
        body = self._bodies[number]
        if what == "again":
            whole = [self.file.is_whole(n) for n in range(len(self._bodies))]
            self.file.close()
            self.begin()
            assert [self.file.is_whole(n) for n in range(len(self._bodies))] == whole
        elif what == "open" and number not in self._open:
            self._sink(number)
        elif what == "write" and number in self._open:
            self._write(number, body[self._open[number] : self._open[number] + count])
        elif what == "complete" and number in self._open:
            self.finish(number)
        elif what == "fail" and number in self._open:
            del self._open[number]
            self.file.drop(number)

    def finish(self, number: int) -> None:
        if number not in self._open:
            self._sink(number)
        self._write(number, self._bodies[number][self._open[number] :])
        del self._open[number]
        self.file.complete(number)

    def _sink(self, number: int) -> None:
        self._open[number] = 0
        self._sinks[number] = self.file.open(number, self._places[number] if number in self._known else None)

    def _write(self, number: int, data: bytes) -> None:
        if data:
            self._sinks[number].write(data)
            self._open[number] += len(data)


@given(st.lists(st.integers(0, 90), min_size=1, max_size=8), st.sets(st.integers(0, 7)), STEPS)
def test_pieces_end_up_in_order(sizes: list[int], wanted: set[int], steps: list[tuple[str, int, int]]) -> None:
    bodies = [media_bytes(size, number, b"") for number, size in enumerate(sizes)]
    # As in life: either no place is known, or those of the first pieces, or all.
    known = set(range(max(wanted, default=-1) + 1))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as executor:
        track = Track(Path(folder), bodies, known, executor)
        for step in steps:
            track.step(*step)
            assert track.file.bytes <= sum(sizes)
        for number in range(len(bodies)):
            if not track.file.is_whole(number):
                track.finish(number)
        file = track.file.file
        assert file.pieces == (len(bodies), sum(sizes))
        assert track.file.head == len(bodies)
        file.finish(sum(sizes))
        track.file.close()
        assert file.path.read_bytes() == b"".join(bodies)
        assert len(list(Path(folder).iterdir())) == 2


def test_a_piece_that_does_not_fit_is_noticed(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        file = PieceFile(TrackFile(tmp_path, "video", 1, executor))
        later = file.open(1, 100)
        later.write(b"later")
        file.complete(1)
        first = file.open(0)
        first.write(bytes(90))
        with pytest.raises(Misplaced):
            file.complete(0)
        file.discard()
        assert list(tmp_path.iterdir()) == []
