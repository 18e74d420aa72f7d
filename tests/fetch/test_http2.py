"""A host that speaks HTTP/2 and goes away in the middle."""

from collections.abc import Callable
from pathlib import Path

import pytest

from downloader.errors import DownloadFailed
from downloader.fetch.limits import MIB
from downloader.fetch.transfer import Wire
from downloader.handoff import Fetched
from tests.fetch.conftest import Bench, video
from tests.fetch.test_connections import certificate, secure
from tests.origin import media_bytes
from tests.origin.multiplexed import ENHANCE_YOUR_CALM, INTERNAL_ERROR, NO_ERROR, Connection, MultiplexedOrigin

__all__ = ["certificate"]
DATA = media_bytes(6 * MIB)


def quiet(_connection: Connection) -> None:
    """Serve on."""


def at_the_start(connection: Connection) -> None:
    """The first three connections are told to go before any answer."""
    if connection.number <= 3 and not connection.sent:
        connection.go_away(last=0, code=ENHANCE_YOUR_CALM, hang_up=True)


def mid_body(connection: Connection) -> None:
    """The first two connections end in the middle of bodies."""
    if connection.number <= 2 and connection.sent > MIB // 2:
        connection.go_away(last=0, code=INTERNAL_ERROR, hang_up=True)


def gracefully(connection: Connection) -> None:
    """The first connection takes no more requests, but finishes what it has."""
    if connection.number == 1 and connection.sent > MIB // 2 and connection.streams:
        connection.go_away(last=max(connection.streams), code=NO_ERROR, hang_up=False)


def half_of_them(connection: Connection) -> None:
    """The first connection disowns the later half of the streams it has begun."""
    streams = connection.streams
    if connection.number == 1 and connection.sent > MIB // 2 and len(streams) > 1:
        connection.go_away(last=streams[len(streams) // 2], code=NO_ERROR, hang_up=False)


@pytest.fixture
def fetch(
    bench: Bench, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[[MultiplexedOrigin], Fetched]:
    monkeypatch.setitem(Wire.__init__.__kwdefaults__, "ca_file", str(certificate[0]))
    bench.options = {"download_http2": True, "download_chunk_size": MIB}

    def run(origin: MultiplexedOrigin) -> Fetched:
        bench.resolve = (f"media.example.org:{origin.port}:127.0.0.1",)
        return bench.fetch(video(f"https://media.example.org:{origin.port}/v.mp4"))

    return run


@pytest.mark.parametrize("script", [quiet, at_the_start, mid_body, gracefully, half_of_them])
def test_the_right_bytes_over_http2(
    bench: Bench,
    certificate: tuple[Path, Path],
    fetch: Callable[[MultiplexedOrigin], Fetched],
    script: Callable[[Connection], None],
) -> None:
    with MultiplexedOrigin(secure(certificate), DATA, script) as origin:
        fetched = fetch(origin)
        assert bench.bytes_of(fetched) == DATA
        assert len(bench.left()) == 2
        assert len(origin.seen) >= 6  # all of it over HTTP/2: the origin speaks nothing else
        assert origin.connections > 1 or script is quiet


def test_a_host_that_always_goes_away(
    bench: Bench, certificate: tuple[Path, Path], fetch: Callable[[MultiplexedOrigin], Fetched]
) -> None:
    def always(connection: Connection) -> None:
        connection.go_away(last=0, code=ENHANCE_YOUR_CALM, hang_up=True)

    with MultiplexedOrigin(secure(certificate), DATA, always) as origin, pytest.raises(DownloadFailed) as caught:
        fetch(origin)
    assert caught.value.verdict == "retry"
    assert "media.example.org" in caught.value.message
