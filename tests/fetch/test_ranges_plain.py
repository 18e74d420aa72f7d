"""Tracks that are served well."""

import pytest

from tests.fetch.conftest import Bench, video
from tests.origin import Origin, media_bytes

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


def test_many_tracks_at_once(origin: Origin, bench: Bench) -> None:
    bodies = {key: media_bytes(400_000 + index, index) for index, key in enumerate(("video", "audio", "other"))}
    tracks = [video(origin.add(f"/{key}", body, etag=f'"{key}"'), key=key) for key, body in bodies.items()]
    fetched = bench.fetch(*tracks)
    assert {track.track.key: bench.bytes_of(fetched, track.track.key) for track in fetched.tracks} == bodies
