"""Tracks that are served well."""

import threading

import pytest

from tests.fetch.conftest import Bench, video
from tests.origin import Call, Origin, media_bytes

SIZE = 5_300_001


@pytest.mark.parametrize("declared", [None, SIZE, SIZE - 7, SIZE + 7])
def test_whole_track_whatever_size_is_declared(origin: Origin, bench: Bench, declared: int | None) -> None:
    data = media_bytes(SIZE)
    url = origin.add("/v.mp4", data, etag='"one"')
    fetched = bench.fetch(video(url, declared))
    assert bench.bytes_of(fetched) == data
    assert fetched.tracks[0].format == "mp4"
    assert fetched.bytes_moved == SIZE
    assert origin.count() > 3
    assert bench.progress[-1] == (SIZE, SIZE)


@pytest.mark.parametrize("declared", [None, SIZE, SIZE - 7, SIZE + 7])
def test_query_mode(origin: Origin, bench: Bench, declared: int | None) -> None:
    data = media_bytes(SIZE)
    origin.add("/v.mp4", data)
    bench.resolve = (f"r1.googlevideo.com:{origin.port}:127.0.0.1",)
    url = origin.url("/v.mp4?id=1", host="r1.googlevideo.com")
    fetched = bench.fetch(video(url, declared))
    assert bench.bytes_of(fetched) == data
    assert sum("range" in seen.query for seen in origin.requests) >= 3


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_wrong_size_is_found_out_although_the_question_fails_at_first(
    origin: Origin, bench: Bench, status: int
) -> None:
    asked = []

    def script(call: Call) -> None:
        if call.seen.headers.get("range") == "bytes=0-0" and not asked:
            asked.append(call)
            call.status(status)
        else:
            call.serve()

    data = media_bytes(SIZE)
    origin.add("/v.mp4", data, script=script)
    bench.resolve = (f"r1.googlevideo.com:{origin.port}:127.0.0.1",)
    url = origin.url("/v.mp4?id=1", host="r1.googlevideo.com")
    assert bench.bytes_of(bench.fetch(video(url, SIZE - 1000))) == data


@pytest.mark.parametrize("transport", ["ranges", "hls"])
def test_progress_counts_what_is_on_disk(origin: Origin, bench: Bench, transport: str) -> None:
    data = b"\x47" + media_bytes(SIZE - 1, 1, b"")
    url = origin.add("/v.ts", data, etag='"one"', rate=4_000_000, content_type="video/mp2t")
    lines = "".join(f"#EXTINF:4,\n#EXT-X-BYTERANGE:{SIZE // 10}@{SIZE // 10 * part}\n{url}\n" for part in range(10))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n{lines}#EXT-X-ENDLIST\n"
    url = origin.add("/a.m3u8", playlist.encode()) if transport == "hls" else url
    seen: list[tuple[int, int]] = []

    def progress(done: int, _total: int) -> None:
        blocks = sum(path.stat().st_blocks for path in bench.work.rglob("*") if path.suffix in (".media", ".piece"))
        seen.append((done, blocks * 512))

    fetched = bench.fetch(video(url, transport=transport), progress=progress)
    assert all(done <= on_disk for done, on_disk in seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len({done for done, _ in seen}) > 3
    assert seen[-1][0] == fetched.tracks[0].size


def test_no_length_no_share(origin: Origin, bench: Bench) -> None:
    """While nobody knows how much there is, the first byte is not all of it."""
    data, seen = media_bytes(300_000), threading.Event()

    def script(call: Call) -> None:
        call.head(200, "Content-Type: video/mp4", "Transfer-Encoding: chunked")
        call.raw(b"%x\r\n" % len(data) + data + b"\r\n")
        seen.wait(10)  # until the first bytes are told of
        call.raw(b"0\r\n\r\n")

    def progress(done: int, total: int) -> None:
        bench.progress.append((done, total))
        if done > 1000:
            seen.set()

    audio = video(origin.add("/a.mp4", data[:1000]), 1000, key="audio", kind="audio")
    bench.fetch(video(origin.add("/v.mp4", b"", script=script)), audio, progress=progress)
    assert seen.is_set()
    assert {total for done, total in bench.progress if done < len(data) + 1000} <= {0}
    assert bench.progress[-1] == (len(data) + 1000, len(data) + 1000)


def test_many_tracks_at_once(origin: Origin, bench: Bench) -> None:
    bodies = {key: media_bytes(400_000 + index, index) for index, key in enumerate(("video", "audio", "other"))}
    tracks = [video(origin.add(f"/{key}", body, etag=f'"{key}"'), key=key) for key, body in bodies.items()]
    fetched = bench.fetch(*tracks)
    assert {track.track.key: bench.bytes_of(fetched, track.track.key) for track in fetched.tracks} == bodies
