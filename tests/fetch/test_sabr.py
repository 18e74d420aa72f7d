"""TypeType-Server's own streams: parts, framing, and every way to break it."""

import struct
from collections.abc import Callable, Iterator

import pytest

from downloader.errors import SourceForbidden, SourceGone, SourceInvalid, UpstreamUnavailable
from downloader.fetch.sabr import parts_for
from downloader.handoff import Track
from tests.fetch.conftest import Bench
from tests.origin import Call, Origin, media_bytes

VIDEO, AUDIO = 137, 140
MIB = 1 << 20
TYPE = "Content-Type: application/vnd.typetype.sabr-download"


def frame(kind: int, itag: int = 0, sequence: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack(">BIIQ", kind, itag, sequence, len(payload) if length is None else length) + payload


class Programme:
    """Two tracks of ten media frames each, cut into parts."""

    def __init__(self, video: int = 6 * MIB, audio: int = 700_000) -> None:
        self.bodies = {VIDEO: media_bytes(video, 1), AUDIO: media_bytes(audio, 2)}

    def frames(self, itag: int, part: int, parts: int) -> Iterator[bytes]:
        body = self.bodies[itag]
        yield frame(1, itag, 0, body[:1000])
        rest = body[1000:]
        share = range(12 * part // parts, 12 * (part + 1) // parts)
        for number in share:
            yield frame(2, itag, number + 1, rest[len(rest) * number // 12 : len(rest) * (number + 1) // 12])

    def part(self, itags: list[int], part: int, parts: int) -> bytes:
        return b"TTSABR1\n" + b"".join(b"".join(self.frames(itag, part, parts)) for itag in itags) + frame(3)

    def serve(self, call: Call, change: Callable[[bytes], bytes] = lambda body: body) -> None:
        query = call.seen.query
        itags = [int(query[name]) for name in ("videoItag", "audioItag") if name in query]
        body = change(self.part(itags, int(query["part"]), int(query["parts"])))
        call.head(200, TYPE, f"Content-Length: {len(body)}")
        call.body(body)


def tracks(origin: Origin, programme: Programme) -> tuple[Track, Track]:
    url = origin.url("/sabr/download/abc")
    video = Track(key="video", kind="video", transport="sabr", url=url, itag=VIDEO, size=len(programme.bodies[VIDEO]))
    return video, Track(key="audio", kind="audio", transport="sabr", url=url, itag=AUDIO, audio_track_id="en.4")


@pytest.fixture
def server(origin: Origin, bench: Bench) -> Origin:
    bench.options = {"typetype_api_base": origin.url(""), "media_allow_networks": ()}
    return origin


def test_both_tracks_in_parts(server: Origin, bench: Bench) -> None:
    programme = Programme()
    server.add("/sabr/download/abc", script=programme.serve)
    fetched = bench.fetch(*tracks(server, programme), authorization="Bearer me")
    assert bench.bytes_of(fetched, "video") == programme.bodies[VIDEO]
    assert bench.bytes_of(fetched, "audio") == programme.bodies[AUDIO]
    assert sorted(seen.query["part"] for seen in server.requests) == ["0", "1"]
    first = server.requests[0]
    assert first.headers["authorization"] == "Bearer me"
    assert first.query == {
        "videoItag": "137", "audioItag": "140", "audioTrackId": "en.4", "audioOnly": "false", "part": first.query["part"], "parts": "2",
    }  # fmt: skip
    assert len(bench.left()) == 4


def test_sound_alone(server: Origin, bench: Bench) -> None:
    programme = Programme()
    server.add("/sabr/download/abc", script=programme.serve)
    fetched = bench.fetch(tracks(server, programme)[1])
    assert bench.bytes_of(fetched, "audio") == programme.bodies[AUDIO]
    assert server.requests[0].query["audioOnly"] == "true"


def test_a_failed_part_is_fetched_again_alone(server: Origin, bench: Bench) -> None:
    programme = Programme(18 * MIB)
    broken: list[str] = []

    def script(call: Call) -> None:
        part = call.seen.query["part"]
        if part in "012" and part not in broken:
            broken.append(part)
            programme.serve(call, lambda body: body[: len(body) * 2 // 3])
            return
        programme.serve(call)

    server.add("/sabr/download/abc", script=script)
    fetched = bench.fetch(*tracks(server, programme))
    assert bench.bytes_of(fetched, "video") == programme.bodies[VIDEO]
    assert bench.bytes_of(fetched, "audio") == programme.bodies[AUDIO]
    asked = sorted(seen.query["part"] for seen in server.requests)
    assert asked == ["0", "0", "1", "1", "2", "2", "3"]


BREACHES: dict[str, Callable[[bytes], bytes]] = {
    "magic": lambda body: b"XXSABR1\n" + body[8:],
    "cut": lambda body: body[:-30],
    "no completion": lambda body: body[:-17],
    "trailing bytes": lambda body: body + b"x",
    "a frame after the end": lambda body: body + frame(2, VIDEO, 99, b"x"),
    "unknown itag": lambda body: body[:-17] + frame(2, 18, 1, b"x") + frame(3),
    "unknown type": lambda body: body[:-17] + frame(9, VIDEO, 1, b"x") + frame(3),
    "frame too long": lambda body: body[:-17] + frame(2, VIDEO, 13, b"", length=(256 << 20) + 1) + frame(3),
    "out of order": lambda body: body[:-17] + frame(2, VIDEO, 40, b"x") + frame(3),
    "second initialization": lambda body: body[:-17] + frame(1, VIDEO, 0, b"x") + frame(3),
    "completion with an itag": lambda body: body[:-17] + frame(3, VIDEO),
    "nothing in it": lambda _body: b"TTSABR1\n" + frame(3),
    "a page": lambda _body: b"<html>",
}


@pytest.mark.parametrize("breach", BREACHES)
def test_every_breach_ends_clearly(server: Origin, bench: Bench, breach: str) -> None:
    programme = Programme(100_000, 50_000)
    server.add("/sabr/download/abc", script=lambda call: programme.serve(call, BREACHES[breach]))
    with pytest.raises(SourceInvalid, match="TypeType-Server's stream is broken"):
        bench.fetch(*tracks(server, programme))
    assert bench.left() == []
    assert server.count() == 3


def test_wrong_content_type(server: Origin, bench: Bench) -> None:
    server.add("/sabr/download/abc", b"{}", content_type="application/json")
    with pytest.raises(SourceInvalid, match="something else"):
        bench.fetch(*tracks(server, Programme(1000, 1000)))
    assert bench.left() == []


@pytest.mark.parametrize(
    ("status", "error"), [(401, SourceForbidden), (403, SourceForbidden), (404, SourceGone), (422, SourceInvalid), (500, UpstreamUnavailable)]
)  # fmt: skip
def test_statuses(server: Origin, bench: Bench, status: int, error: type[Exception]) -> None:
    server.add("/sabr/download/abc", script=lambda call: call.status(status))
    with pytest.raises(error):
        bench.fetch(*tracks(server, Programme(1000, 1000)))
    assert bench.left() == [] or status == 500  # worth another try


def test_errors_then_well(server: Origin, bench: Bench) -> None:
    programme = Programme(100_000, 50_000)
    server.add("/sabr/download/abc", script=lambda call: call.status(503) if call.number < 4 else programme.serve(call))
    assert bench.bytes_of(bench.fetch(*tracks(server, programme)), "video") == programme.bodies[VIDEO]


def test_a_stall_is_cut_off(server: Origin, bench: Bench) -> None:
    programme = Programme(100_000, 50_000)

    def script(call: Call) -> None:
        if call.number > 1:
            programme.serve(call)
            return
        call.head(200, TYPE)
        call.raw(b"TTSABR1\n")
        call.wait(30)

    server.add("/sabr/download/abc", script=script)
    assert bench.bytes_of(bench.fetch(*tracks(server, programme)), "video") == programme.bodies[VIDEO]


def test_resumes_after_the_whole_parts(server: Origin, bench: Bench) -> None:
    programme = Programme(18 * MIB)
    state = {"broken": True}

    def script(call: Call) -> None:
        if state["broken"] and call.seen.query["part"] in "23":
            call.status(500)
        else:
            programme.serve(call)

    server.add("/sabr/download/abc", script=script)
    with pytest.raises(UpstreamUnavailable):
        bench.fetch(*tracks(server, programme))
    state["broken"], bench.epoch = False, 2
    before = len(server.requests)
    fetched = bench.fetch(*tracks(server, programme))
    assert bench.bytes_of(fetched, "video") == programme.bodies[VIDEO]
    assert {seen.query["part"] for seen in server.requests[before:]} == {"2", "3"}


@pytest.mark.parametrize(
    ("size", "video", "parts"),
    [(0, True, 1), (4 * MIB - 1, True, 1), (4 * MIB, True, 2), (16 * MIB, True, 4), (128 * MIB, True, 6), (256 * MIB, True, 12),
     (1 << 40, True, 12), (4 * MIB, False, 2), (16 * MIB, False, 4), (1 << 40, False, 4)],
)  # fmt: skip
def test_parts_by_expected_bytes(size: int, video: bool, parts: int) -> None:  # noqa: FBT001
    assert parts_for(size, video=video) == parts
