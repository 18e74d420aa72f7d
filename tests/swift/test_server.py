"""The S3 server of the tests itself: it works, and it ends with whoever started it, also one that is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.swift.server import available

_STARTER = """
import sys
from pathlib import Path
from tests.swift.server import running
with running(Path(sys.argv[1]) / "swift") as server:
    print(server.endpoint, flush=True)
    sys.stdin.read()
"""


def _servers(folder: Path) -> set[int]:
    """The processes that serve from ``folder``."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"tests.swift.serve\0" in command and os.fsencode(folder) in command:
            found.add(int(process.name))
    return found


@pytest.mark.parametrize("end", [signal.SIGKILL, None])
def test_no_server_outlives_its_starter(tmp_path: Path, end: signal.Signals | None) -> None:
    if not available():
        pytest.skip("OpenStack Swift is not installed")
    starter = subprocess.Popen(
        [sys.executable, "-c", _STARTER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    with starter:
        assert starter.stdin is not None
        assert starter.stdout is not None
        assert starter.stdout.readline()
        assert len(_servers(tmp_path)) == 4
        if end is None:
            starter.stdin.close()
        else:
            starter.send_signal(end)
        starter.wait(20)
    deadline = time.monotonic() + 10
    while _servers(tmp_path) and time.monotonic() < deadline:
        os.sched_yield()
    assert not _servers(tmp_path)
