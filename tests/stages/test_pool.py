"""A real supervisor over small real children: restart, succession, drain, and its own death."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tests.waiting import ended, until

# A child that notes how it was started, then waits for the end of its lifeline or for SIGTERM.
CHILD = textwrap.dedent("""
    import argparse, os, pathlib, select, signal, sys
    parser = argparse.ArgumentParser()
    for name in ("--lifeline-fd", "--worker-id", "--folder", "--mode"):
        parser.add_argument(name)
    parser.add_argument("--succeeds", action="append", default=[])
    a = parser.parse_args()
    if a.mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note = pathlib.Path(a.folder) / f"{os.getpid()}.new"
    note.write_text(f"{a.worker_id} {','.join(a.succeeds)}")
    note.rename(note.with_suffix(".pid"))
    select.select([int(a.lifeline_fd)], [], [])
""")

SUPERVISOR = textwrap.dedent("""
    import sys
    from stages.pool import ProcessSpec, Supervisor
    child, folder, mode = sys.argv[1:4]
    spec = ProcessSpec("pool-0", ("-c", child, "--folder", folder, "--mode", mode))
    sys.exit(Supervisor([spec], grace=0.3).run())
""")


@pytest.fixture
def start(tmp_path):
    started = []

    def run(mode="obedient"):
        process = subprocess.Popen([sys.executable, "-c", SUPERVISOR, CHILD, str(tmp_path), mode])
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def children(folder):
    """The children that ever started, oldest first: (pid, worker id, whom they succeed)."""
    notes = sorted(folder.glob("*.pid"), key=lambda note: note.stat().st_mtime_ns)
    return [(int(note.stem), *note.read_text().split(" ")) for note in notes]


def test_a_dead_child_is_replaced_by_one_that_knows_whom_it_succeeds(start, tmp_path):
    start()
    ((pid, worker, _),) = until(lambda: children(tmp_path))
    os.kill(pid, signal.SIGKILL)
    _, (_, successor, succeeds) = until(lambda: len(children(tmp_path)) == 2 and children(tmp_path))
    assert succeeds == worker
    assert successor != worker


def test_sigterm_drains_and_ends_everything(start, tmp_path):
    supervisor = start()
    ((pid, *_),) = until(lambda: children(tmp_path))
    supervisor.terminate()
    assert supervisor.wait(10) == 0
    assert ended(pid)


def test_what_does_not_drain_in_time_is_killed(start, tmp_path):
    supervisor = start("stubborn")
    ((pid, *_),) = until(lambda: children(tmp_path))
    supervisor.terminate()
    assert supervisor.wait(10) == 1
    assert ended(pid)


def test_children_notice_when_the_supervisor_is_killed(start, tmp_path):
    supervisor = start("stubborn")
    ((pid, *_),) = until(lambda: children(tmp_path))
    supervisor.kill()
    assert ended(pid)
