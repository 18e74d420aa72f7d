"""The engine against children that hang, die, or are no longer wanted."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from downloader.errors import Cancelled, EngineCrashed, MediaInvalid, TimedOut
from downloader.handoff import Media
from downloader.mux.engine import Engine
from downloader.mux.order import Finished, Order
from stages.contract import StepContext
from stages.mux import MuxStage
from tests.media import make_audio, make_video
from tests.mux.conftest import fetched
from tests.mux.processes import child_of, ended, fork_of, stopped_fork
from tests.volumes import volume


def nothing(*_: Any) -> None:
    """No check, no progress."""


@pytest.fixture
def short() -> Iterator[Engine]:
    """An engine of little patience."""
    made = Engine(stall_seconds=0.5, wall_seconds=30)
    yield made
    made.close()


@pytest.fixture
def order(tmp_path: Path) -> Order:
    video = make_video(tmp_path / "video.mp4", 2, (64, 64))
    return Order(
        work=str(tmp_path),
        stem="mux-1",
        tracks=(fetched(video, "video"),),
        media=Media(operation="copy", container="mp4"),
        output_limit=1 << 26,
        cpu_limit=30,
    )


def test_a_hang_is_killed_and_the_next_order_is_done(short: Engine, order: Order) -> None:
    child = child_of(short)
    fork = stopped_fork(short)

    with pytest.raises(EngineCrashed, match="hung"):
        short.run(order, nothing, nothing)

    assert ended(child)
    assert ended(fork)
    assert isinstance(short.run(order, nothing, nothing), Finished)


def forks_of(engine: Engine, orders: list[Order]) -> list[int]:
    """The pid of the fork that does each of the orders."""
    found = []
    for order in orders:
        found.append(fork_of(child_of(engine)))
        assert isinstance(engine.run(order, nothing, nothing), Finished)
    return found


def test_orders_that_have_the_time_or_are_large_are_alone_in_their_process(
    engine: Engine, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("downloader.mux.engine._QUIET_SECONDS", 0.0)
    assert len(set(forks_of(engine, [order] * 3))) == 3

    monkeypatch.setattr("downloader.mux.engine._QUIET_SECONDS", 60.0)
    monkeypatch.setattr("downloader.mux.engine._SMALL", 1)
    assert len(set(forks_of(engine, [order] * 3))) == 3


def test_only_a_few_small_orders_in_a_row_share_a_process(
    engine: Engine, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("downloader.mux.engine._QUIET_SECONDS", 60.0)
    large = msgspec.structs.replace(order, tracks=tuple(msgspec.structs.replace(t, size=1 << 30) for t in order.tracks))

    found = forks_of(engine, [large] + [order] * 10)

    assert [found.count(pid) for pid in dict.fromkeys(found)] == [1, 8, 2]


def test_a_large_order_after_small_ones_gets_a_fresh_process(
    engine: Engine, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("downloader.mux.engine._QUIET_SECONDS", 60.0)
    large = msgspec.structs.replace(order, tracks=tuple(msgspec.structs.replace(t, size=1 << 30) for t in order.tracks))
    (first,) = forks_of(engine, [order])
    assert fork_of(child_of(engine)) == first  # it waits for another

    assert isinstance(engine.run(large, nothing, nothing), Finished)

    assert fork_of(child_of(engine)) != first


@pytest.fixture
def long_order(tmp_path: Path, order: Order) -> Order:
    """Takes long enough to report progress."""
    audio = make_audio(tmp_path / "audio.m4a", 60)
    media = Media(operation="transcode", container="ogg", audio_codec="opus", duration_s=60)
    return msgspec.structs.replace(order, tracks=(fetched(audio, "audio"),), media=media)


def test_a_crash_takes_one_order_only(short: Engine, order: Order, long_order: Order) -> None:
    fork = fork_of(child_of(short))

    with pytest.raises(EngineCrashed, match="signal 11"):
        short.run(long_order, nothing, lambda done, total: os.kill(fork, signal.SIGSEGV))

    assert isinstance(short.run(order, nothing, nothing), Finished)


def test_a_fork_that_ends_while_it_waits_costs_nothing(engine: Engine, order: Order) -> None:
    child = child_of(engine)
    fork = fork_of(child)
    os.kill(fork, signal.SIGKILL)
    assert ended(fork)

    assert isinstance(engine.run(order, nothing, nothing), Finished)
    assert child_of(engine) == child


def test_a_child_that_is_gone_is_replaced(engine: Engine, order: Order) -> None:
    child = child_of(engine)
    os.killpg(child, signal.SIGKILL)
    assert ended(child)

    assert isinstance(engine.run(order, nothing, nothing), Finished)


def test_the_wall_time_ends_an_order(order: Order) -> None:
    engine = Engine(stall_seconds=30, wall_seconds=0.3)
    try:
        stopped_fork(engine)
        with pytest.raises(TimedOut):
            engine.run(order, nothing, nothing)
    finally:
        engine.close()


def test_a_cancelled_order_ends_within_a_second(
    context: Callable[..., StepContext], stage: MuxStage, order: Order, tmp_path: Path
) -> None:
    fork = stopped_fork(stage._engine)
    (tmp_path / "mux-1.mp4").write_bytes(b"half a file")
    begun = time.monotonic()

    def cancel() -> None:
        raise Cancelled("The job was cancelled.")

    with pytest.raises(Cancelled):
        stage.run(context(order.media, *order.tracks, check=cancel))

    assert ended(fork, 1)
    assert time.monotonic() - begun < 1
    assert [path.name for path in tmp_path.iterdir()] == ["video.mp4"]


def test_an_output_beyond_its_limit_is_refused(engine: Engine, order: Order) -> None:
    with pytest.raises(MediaInvalid, match="far larger"):
        engine.run(msgspec.structs.replace(order, output_limit=500), nothing, nothing)


def test_progress_reaches_the_caller(engine: Engine, long_order: Order) -> None:
    seen: list[tuple[int, int]] = []

    engine.run(long_order, nothing, lambda done, total: seen.append((done, total)))

    assert seen == sorted(seen)
    assert all(0 <= done <= total for done, total in seen)
    assert {total for _, total in seen} == {60_021}


def test_children_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    code = (
        "import sys; from downloader.mux.engine import Engine; from tests.mux.processes import child_of, fork_of;"
        "engine = Engine(); child = child_of(engine); print('pids', child, fork_of(child), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        for line in owner.stdout:
            if line.startswith("pids"):
                break
        child, fork = map(int, line.split()[1:])
        owner.send_signal(signal.SIGKILL)

        assert ended(child)
        assert ended(fork)


def test_closing_ends_the_child() -> None:
    engine = Engine()
    child = child_of(engine)

    engine.close()

    assert ended(child, 0)


def test_the_engine_loads_no_ffmpeg() -> None:
    code = "import sys, stages.mux; sys.exit('av' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


FILLING = """
import sys
from pathlib import Path
from downloader.errors import InsufficientStorage
from downloader.mux.engine import Engine
from tests.mux.test_engine import nothing, order_for

folder = Path(sys.argv[1])
engine = Engine(root=folder)
try:
    engine.run(order_for(folder), nothing, nothing)
except InsufficientStorage as error:
    print(error.message)
finally:
    engine.close()
"""


def order_for(folder: Path) -> Order:
    tracks = (fetched(folder / "video.mp4", "video"),)
    return Order(str(folder), "mux-1", tracks, Media(operation="copy", container="mkv"), 1 << 26, 30)


def test_a_disk_that_fills_up_is_said(tmp_path: Path) -> None:
    with volume(tmp_path / "volume", size=4 << 20) as small:
        made = make_video(tmp_path / "video.mp4", 20, (320, 180), fps=30)
        shutil.copy(made, small.path / "video.mp4")
        small.fill(leave=made.stat().st_size // 2)
        command = [*small.enter, sys.executable, "-c", FILLING, str(small.inside)]

        done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "The disk filled up while the file was being made."
