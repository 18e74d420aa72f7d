"""Every byte of TypeType-Server's parts goes to its place at once, in whatever order the parts come."""

import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.errors import UpstreamChanged, UpstreamUnavailable
from downloader.fetch.index import segment_edges
from downloader.fetch.sabr import SabrTracks
from downloader.handoff import Track
from tests.fetch.conftest import Bench
from tests.fetch.test_sabr import AUDIO, MIB, TYPE, VIDEO, Programme, server
from tests.media import make_audio, make_video
from tests.origin import Call, Origin
from tests.standin.framing import fragments, sabr_body

__all__ = ["server"]
PARTS = 4


class Copied:
    """How many bytes the kernel was asked to copy from one file into another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        self._real = os.copy_file_range
        monkeypatch.setattr(os, "copy_file_range", self._copy)

    def _copy(self, *arguments: int) -> int:
        count = self._real(*arguments)
        self.bytes += count
        return count


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> Copied:
    return Copied(monkeypatch)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Real picture and sound, fragmented, each with its index."""
    folder = tmp_path_factory.mktemp("media")
    return {VIDEO: make_video(folder / "v.mp4", 12, (320, 180)), AUDIO: make_audio(folder / "a.m4a", 12)}


def tracks(origin: Origin) -> tuple[Track, Track]:
    """Both tracks; the declared size makes it four parts."""
    url = origin.url("/sabr/download/abc")
    video = Track(key="video", kind="video", transport="sabr", url=url, itag=VIDEO, size=20 * MIB)
    return video, Track(key="audio", kind="audio", transport="sabr", url=url, itag=AUDIO)


class FirstLast:
    """Serves the parts so that the first ends when all others are whole."""

    def __init__(self, body: Callable[[int], bytes]) -> None:
        self.body = body
        self.served: set[str] = set()
        self.others = threading.Event()
        self.ready: Callable[[], bool] = lambda: True

    def __call__(self, call: Call) -> None:
        part = call.seen.query["part"]
        body = self.body(int(part))
        call.head(200, TYPE, f"Content-Length: {len(body)}")
        if part == "0":
            call.raw(body[:4000])
            assert self.others.wait(20)
            while not self.ready():
                call.wait(0.01)
            call.body(body[4000:])
            return
        call.body(body)
        self.served.add(part)
        if len(self.served) == PARTS - 1:
            self.others.set()


def real(media: dict[int, Path]) -> Callable[[int], bytes]:
    return lambda part: b"".join(sabr_body(list(media.items()), part, PARTS))


def test_with_an_index_nothing_is_ever_copied(
    server: Origin, bench: Bench, media: dict[int, Path], copied: Copied
) -> None:
    script = FirstLast(real(media))
    rest = sum(len(real(media)(part)) for part in range(1, PARTS)) * 0.9  # without frames and initializations
    aside: list[str] = []

    def ready() -> bool:
        aside.extend(name for name in bench.left() if name.endswith(".piece"))
        return bench.progress[-1][0] > rest

    script.ready = ready
    server.add("/sabr/download/abc", script=script)
    fetched = bench.fetch(*tracks(server))
    assert bench.bytes_of(fetched, "video") == media[VIDEO].read_bytes()
    assert bench.bytes_of(fetched, "audio") == media[AUDIO].read_bytes()
    assert (copied.bytes, aside) == (0, [])
    assert fetched.bytes_moved == sum(track.size for track in fetched.tracks)
    assert len(bench.left()) == 4
    # The index says how much is to come, so the total is right before any part is whole.
    assert all(abs(total - fetched.bytes_moved) < 1000 for done, total in bench.progress if done > 10_000)


def test_without_an_index_only_what_came_early_is_moved(server: Origin, bench: Bench, copied: Copied) -> None:
    programme = Programme(900_000, 120_000)
    script = FirstLast(lambda part: programme.part([VIDEO, AUDIO], part, PARTS))
    script.ready = lambda: sum(name.endswith(".piece") for name in bench.left()) == 2 * (PARTS - 1)
    server.add("/sabr/download/abc", script=script)
    fetched = bench.fetch(*tracks(server))
    assert bench.bytes_of(fetched, "video") == programme.bodies[VIDEO]
    assert bench.bytes_of(fetched, "audio") == programme.bodies[AUDIO]
    assert 0 < copied.bytes <= 1_020_000 * (PARTS - 1) / PARTS  # the worst order there is: each byte once at most
    assert len(bench.left()) == 4


def test_without_an_index_parts_in_order_move_nothing(
    server: Origin, bench: Bench, copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SabrTracks, "parallel", 1)
    programme = Programme(900_000, 120_000)
    server.add("/sabr/download/abc", script=programme.serve)
    fetched = bench.fetch(*tracks(server))
    assert bench.bytes_of(fetched, "video") == programme.bodies[VIDEO]
    assert bench.bytes_of(fetched, "audio") == programme.bodies[AUDIO]
    assert (server.count(), copied.bytes) == (PARTS, 0)


def webm(path: Path, source: Path) -> Path:
    """``source`` as WebM for DASH: one cluster a key frame, the cues in front."""
    options = {"dash": "1", "cues_to_front": "1", "cluster_time_limit": "1000"}
    with av.open(str(source)) as read, av.open(str(path), "w", format="webm", options=options) as output:
        copy = output.add_stream_from_template(read.streams[0])
        for packet in read.demux(read.streams[0]):
            if packet.dts is not None:
                packet.stream = copy
                output.mux(packet)
    return path


def test_webm_has_its_index_in_cues(server: Origin, bench: Bench, tmp_path: Path, copied: Copied) -> None:
    data = webm(tmp_path / "v.webm", make_video(tmp_path / "s.webm", 6, (320, 180))).read_bytes()
    first = next(edges for at in range(100, 2000) if (edges := segment_edges(data[:at])))
    assert first[-1] == len(data)

    def body(part: int) -> bytes:
        share = range((len(first) - 1) * part // PARTS, (len(first) - 1) * (part + 1) // PARTS)
        frames = [(2, number + 1, data[first[number] : first[number + 1]]) for number in share]
        every = [(1, 0, data[: first[0]]), *frames]
        packed = (struct.pack(">BIIQ", kind, VIDEO, sequence, len(load)) + load for kind, sequence, load in every)
        return b"TTSABR1\n" + b"".join(packed) + struct.pack(">BIIQ", 3, 0, 0, 0)

    server.add("/sabr/download/abc", script=FirstLast(body))
    fetched = bench.fetch(tracks(server)[0])
    assert bench.bytes_of(fetched, "video") == data
    assert copied.bytes == 0


def reindexed(body: bytes, change: Callable[[list[int]], list[int]]) -> bytes:
    """``body`` with other sizes in its picture's index."""
    at = body.index(b"sidx") + 28
    (count,) = struct.unpack_from(">H", body, at - 2 + (8 if body[at - 24] else 0))
    at += 8 if body[at - 24] else 0
    sizes = change([struct.unpack_from(">I", body, at + 12 * n)[0] for n in range(count)])
    changed = bytearray(body)
    for number, size in enumerate(sizes):
        struct.pack_into(">I", changed, at + 12 * number, size)
    return bytes(changed)


WRONG_INDEXES: dict[str, Callable[[list[int]], list[int]]] = {
    "sizes in another order": lambda sizes: sizes[::-1],
    "one size off by one": lambda sizes: [*sizes[:5], sizes[5] + 1, *sizes[6:]],
    "an absurd size": lambda sizes: [(1 << 31) - 1] * len(sizes),
    "a size of nothing": lambda sizes: [0, *sizes[1:]],
    "a further index": lambda sizes: [sizes[0] | 1 << 31, *sizes[1:]],
}


@pytest.mark.parametrize("wrong", WRONG_INDEXES)
def test_a_wrong_index_costs_time_never_bytes(server: Origin, bench: Bench, media: dict[int, Path], wrong: str) -> None:
    bodies = [reindexed(real(media)(part), WRONG_INDEXES[wrong]) for part in range(PARTS)]
    server.add("/sabr/download/abc", script=lambda call: serve(call, bodies[int(call.seen.query["part"])]))
    fetched = bench.fetch(*tracks(server))
    whole = reindexed(media[VIDEO].read_bytes(), WRONG_INDEXES[wrong])
    assert bench.bytes_of(fetched, "video") == whole
    assert bench.bytes_of(fetched, "audio") == media[AUDIO].read_bytes()
    assert len(bench.left()) == 4


def test_parts_that_repeat_a_segment_are_put_together_as_they_come(
    server: Origin, bench: Bench, media: dict[int, Path]
) -> None:
    """The index would put the repeated segment over itself; the file is the parts in order, whatever it says."""
    data, found = media[VIDEO].read_bytes(), fragments(media[VIDEO])

    def segments(part: int) -> list[int]:
        return [*range(part * 3, part * 3 + 3)] if part != 2 else [5, 6, 7, 8]

    def body(part: int) -> bytes:
        frames = [(2, n + 1, data[found.media[n][0] : sum(found.media[n])]) for n in segments(part)]
        every = [(1, 0, data[: found.init]), *frames]
        packed = (struct.pack(">BIIQ", kind, VIDEO, sequence, len(load)) + load for kind, sequence, load in every)
        return b"TTSABR1\n" + b"".join(packed) + struct.pack(">BIIQ", 3, 0, 0, 0)

    server.add("/sabr/download/abc", script=lambda call: serve(call, body(int(call.seen.query["part"]))))
    fetched = bench.fetch(tracks(server)[0])
    expected = data[: found.init] + b"".join(
        data[found.media[n][0] : sum(found.media[n])] for part in range(PARTS) for n in segments(part)
    )
    assert bench.bytes_of(fetched, "video") == expected


def serve(call: Call, body: bytes) -> None:
    call.head(200, TYPE, f"Content-Length: {len(body)}")
    call.body(body)


@pytest.mark.parametrize("indexed", [True, False])
def test_what_came_early_is_kept_for_a_later_attempt(
    server: Origin,
    bench: Bench,
    media: dict[int, Path],
    indexed: bool,  # noqa: FBT001
) -> None:
    programme = Programme(900_000, 120_000)
    body = real(media) if indexed else lambda part: programme.part([VIDEO, AUDIO], part, PARTS)
    state = {"broken": True}

    def script(call: Call) -> None:
        part = call.seen.query["part"]
        if part == "0" and state["broken"]:
            call.wait(0.02)
            call.status(500)
        else:
            serve(call, body(int(part)))

    server.add("/sabr/download/abc", script=script)
    with pytest.raises(UpstreamUnavailable):
        bench.fetch(*tracks(server))
    state["broken"], bench.epoch = False, 2
    before = len(server.requests)
    fetched = bench.fetch(*tracks(server))
    assert [seen.query["part"] for seen in server.requests[before:]] == ["0"]
    assert bench.bytes_of(fetched, "video") == (media[VIDEO].read_bytes() if indexed else programme.bodies[VIDEO])
    assert bench.bytes_of(fetched, "audio") == (media[AUDIO].read_bytes() if indexed else programme.bodies[AUDIO])
    assert len(bench.left()) == 4


def test_a_track_that_changes_between_parts_is_never_mixed(server: Origin, bench: Bench) -> None:
    old, new = Programme(900_000, 120_000), Programme(900_001, 120_000)
    new.bodies[VIDEO] = b"\x00\x00\x00\x18ftypisom" + new.bodies[VIDEO][12:]

    def script(call: Call) -> None:
        programme = old if call.number < 3 else new
        programme.serve(call)

    server.add("/sabr/download/abc", script=script)
    fetched = bench.fetch(*tracks(server))
    assert bench.bytes_of(fetched, "video") == new.bodies[VIDEO]
    assert bench.bytes_of(fetched, "audio") == new.bodies[AUDIO]


def test_a_track_that_changes_all_the_time_ends_clearly(server: Origin, bench: Bench) -> None:
    def script(call: Call) -> None:
        programme = Programme(900_000, 120_000)
        programme.bodies[VIDEO] = call.number.to_bytes(8) + programme.bodies[VIDEO][8:]
        programme.serve(call)

    server.add("/sabr/download/abc", script=script)
    with pytest.raises(UpstreamChanged, match="changed while it was read"):
        bench.fetch(*tracks(server))


@given(st.binary(max_size=200))
def test_no_bytes_upset_the_index(data: bytes) -> None:
    for start in (b"", b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67", struct.pack(">I4s", len(data) + 8, b"sidx")):
        edges = segment_edges(start + data)
        assert edges is None or (edges[0] == len(start + data) and list(edges) == sorted(set(edges)))


@given(st.lists(st.integers(1, (1 << 31) - 1), min_size=1, max_size=40), st.booleans(), st.integers(0, 50))
def test_an_index_reads_back(sizes: list[int], wide: bool, behind: int) -> None:  # noqa: FBT001
    times = struct.pack(">QQ" if wide else ">II", 0, behind + 8)
    body = bytes([wide, 0, 0, 0]) + struct.pack(">II", 1, 1000) + times + struct.pack(">HH", 0, len(sizes))
    body += b"".join(struct.pack(">III", size, 5, 0) for size in sizes)
    box = struct.pack(">I4s", 8 + len(body), b"sidx") + body
    data = struct.pack(">I4s", 12, b"ftyp") + b"isom" + box + struct.pack(">I4s", behind + 8, b"free") + bytes(behind)
    edges = segment_edges(data)
    assert edges is not None
    assert edges == tuple(len(data) + sum(sizes[:n]) for n in range(len(sizes) + 1))
