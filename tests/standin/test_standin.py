"""The stand-in holds what its clients rely on: byte-exact ranges, whole SABR tracks, playlists, and a quick end."""

import contextlib
import http.client
import json
import os
import signal
import struct
import subprocess
import sys
from urllib.parse import quote, urlsplit

import av
import pytest

from tests.standin.media import make_long_audio, make_long_video, media_file
from tests.standin.server import StandIn
from tests.waiting import until


@pytest.fixture(scope="module")
def standin(tmp_path_factory):
    with StandIn(tmp_path_factory.mktemp("media")) as running:
        yield running


def get(standin, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", standin.port, timeout=120)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()


def test_files_by_ranges(standin):
    whole = media_file(standin.folder, "short.mp4").read_bytes()
    status, headers, body = get(standin, "/media/short.mp4")
    assert (status, body, headers["Content-Type"]) == (200, whole, "video/mp4")
    status, headers, body = get(standin, "/media/short.mp4", Range="bytes=10-19")
    assert (status, body, headers["Content-Range"]) == (206, whole[10:20], f"bytes 10-19/{len(whole)}")
    assert get(standin, "/media/short.mp4", Range="bytes=-5")[2] == whole[-5:]
    assert get(standin, "/media/short.mp4?range=10-19")[::2] == (200, whole[10:20])
    assert get(standin, "/media/short.mp4", Range=f"bytes={len(whole)}-")[0] == 416
    assert get(standin, "/media/short.mp4", Range="bytes=0-1", **{"If-Range": '"other"'})[::2] == (200, whole)
    status, headers, body = get(standin, "/media/short.mp4", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(whole)), b"")
    assert get(standin, "/media/../server.py")[0] == 404


def test_a_file_beyond_memory_goes_out_whole(standin, monkeypatch):
    monkeypatch.setattr("tests.standin.server._KEPT_IN_MEMORY", 1000)
    whole = media_file(standin.folder, "short.m4a").read_bytes()
    assert get(standin, "/media/short.m4a")[2] == whole
    assert get(standin, "/media/short.m4a", Range="bytes=100-40000")[2] == whole[100:40001]


def test_what_is_refused_comes_through_the_proxy(standin):
    answer = json.loads(get(standin, f"/streams?url={quote(standin.source('refused'))}")[2])
    url = answer["videoOnlyStreams"][0]["url"]
    assert get(standin, urlsplit(url).path)[0] == 403
    status, _, body = get(standin, f"/proxy?url={quote(url, safe='')}")
    assert (status, len(body)) == (200, answer["videoOnlyStreams"][0]["contentLength"])


def test_links_expire_and_fresh_ones_are_to_be_had(standin):
    def link():
        answer = json.loads(get(standin, f"/streams?url={quote(standin.source('expiring'))}")[2])
        return answer["videoOnlyStreams"][0]["url"]

    first = link()
    assert [get(standin, urlsplit(first).path, Range="bytes=0-9")[0] for _ in range(3)] == [206, 206, 403]
    assert get(standin, f"/proxy?url={quote(first, safe='')}")[0] == 403
    fresh = link()
    assert fresh != first
    assert get(standin, urlsplit(fresh).path, Range="bytes=0-9")[0] == 206


@pytest.mark.parametrize("parts", [1, 3])
def test_sabr_parts_make_the_tracks(standin, parts):
    files: dict[int, bytes] = {}
    for part in range(parts):
        status, headers, body = get(
            standin, f"/sabr/download/short?videoItag=134&audioItag=140&part={part}&parts={parts}"
        )
        assert (status, headers["Content-Type"]) == (200, "application/vnd.typetype.sabr-download")
        assert body.startswith(b"TTSABR1\n")
        at, last = 8, None
        while at < len(body):
            last, itag, _, length = struct.unpack_from(">BIIQ", body, at)
            payload = body[at + 17 : at + 17 + length]
            at += 17 + length
            if last == 2 or (last == 1 and part == 0):
                files[itag] = files.get(itag, b"") + payload
        assert last == 3
    assert files[134] == media_file(standin.folder, "short.mp4").read_bytes()
    assert files[140] == media_file(standin.folder, "short.m4a").read_bytes()


@pytest.mark.parametrize(("kind", "file"), [("fmp4", "playlist.mp4"), ("ts", "playlist.ts")])
def test_playlists_make_the_file(standin, kind, file):
    text = get(standin, f"/hls/{kind}.m3u8")[2].decode()
    assert text.endswith("#EXT-X-ENDLIST\n")
    found = b""
    whole = media_file(standin.folder, file).read_bytes()
    for line in text.splitlines():
        if "BYTERANGE" in line:
            length, _, offset = line.replace('"', "").rpartition("BYTERANGE")[2].lstrip(":=").partition("@")
            found += whole[int(offset) : int(offset) + int(length)]
    assert found == whole[: len(found)]
    assert len(whole) - len(found) < 188
    assert "/hls/fmp4.m3u8" in get(standin, "/hls/master.m3u8")[2].decode()


def test_long_media_is_real(tmp_path):
    for path in (make_long_video(tmp_path / "long.mp4", 8, bit_rate=2_000_000), make_long_audio(tmp_path / "l.m4a", 8)):
        with av.open(str(path)) as container:
            times = [frame.time for frame in container.decode(container.streams[0])]
        assert times == sorted(times)
        assert times[-1] == pytest.approx(8, abs=0.2)


@pytest.mark.parametrize("how", ["sigterm", "stdin"])
def test_the_program_says_where_it_is_and_ends(tmp_path, how):
    program = [sys.executable, "-m", "tests.standin", "--media", str(tmp_path)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            ready = json.loads(process.stdout.readline())
            connection = http.client.HTTPConnection("127.0.0.1", ready["port"], timeout=120)
            connection.request("GET", f"/streams?url={quote('https://e.test/watch?v=forbidden')}")
            assert connection.getresponse().status == 403
            connection.close()
            if how == "sigterm":
                os.kill(process.pid, signal.SIGTERM)
            else:
                process.stdin.close()
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_a_stand_in_ends_while_a_client_waits(tmp_path):
    with StandIn(tmp_path) as standin:
        connection = http.client.HTTPConnection("127.0.0.1", standin.port, timeout=120)
        connection.request("GET", f"/streams?url={quote(standin.source('slow'))}")
        until(lambda: standin.requests)
    with contextlib.closing(connection), pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        connection.getresponse()
