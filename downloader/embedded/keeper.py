"""Holds one server: starts it, starts it again when it dies, and ends it when the lifeline is cut.

Run by path with ``python -I -S`` and nothing but the standard library, so that it stays small. Its standard input is
the lifeline: a pipe whose other end only the owner has. The kernel closes that end however the owner dies. Should the
keeper itself be killed, the kernel sends the stop signal to the server (PR_SET_PDEATHSIG).
"""

import argparse
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
QUICK_DEATH_SECONDS = 5.0  # a server that lived no longer than this did not really start
QUICK_DEATHS_ALLOWED = 6  # with the pauses below: three and a half seconds of trying
LONGEST_PAUSE_SECONDS = 1.0
LIFELINE = 0


def die_with_parent(stop_signal: int) -> Callable[[], None]:
    """A function for the child, before exec: the kernel sends it ``stop_signal`` when its parent ends."""
    libc = ctypes.CDLL(None, use_errno=True)

    def arm() -> None:
        libc.prctl(PR_SET_PDEATHSIG, stop_signal)

    return arm


def readable(pidfd: int | None, timeout: float | None) -> set[int]:
    """Which of lifeline and ``pidfd`` (a process that ended) became readable within ``timeout`` seconds."""
    watched = [LIFELINE] if pidfd is None else [LIFELINE, pidfd]
    return set(select.select(watched, [], [], timeout)[0])


def stop(server: subprocess.Popen[bytes], stop_signal: int, grace: float) -> None:
    """End ``server``: politely, then with SIGQUIT (Postgres: at once, without a checkpoint), then with SIGKILL."""
    for number, patience in ((stop_signal, grace), (signal.SIGQUIT, 2.0), (signal.SIGKILL, None)):
        server.send_signal(number)
        try:
            server.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        return


def keep(argv: list[str], hold: list[int], stop_signal: int, grace: float) -> int:
    """Run ``argv`` until the lifeline is cut; the exit status of the keeper: 1 when the server will not stay up."""
    arm = die_with_parent(stop_signal)
    quick_deaths = 0
    while True:
        started = time.monotonic()
        # The keeper has one thread, so running code between fork and exec is safe here.
        server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, pass_fds=hold, preexec_fn=arm)  # noqa: PLW1509
        pidfd = os.pidfd_open(server.pid)
        if LIFELINE in readable(pidfd, None):
            stop(server, stop_signal, grace)
            return 0
        os.close(pidfd)
        server.wait()
        quick_deaths = quick_deaths + 1 if time.monotonic() - started < QUICK_DEATH_SECONDS else 0
        if quick_deaths > QUICK_DEATHS_ALLOWED:
            return 1
        if readable(None, min(0.05 * 2**quick_deaths, LONGEST_PAUSE_SECONDS)):
            return 0


def main() -> int:
    """Read the command line and keep the server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stop-signal", type=int, required=True)
    parser.add_argument("--grace", type=float, required=True)
    parser.add_argument("--hold-fd", type=int, action="append", default=[])
    parser.add_argument("argv", nargs="+")
    options = parser.parse_args()
    return keep(options.argv, options.hold_fd, options.stop_signal, options.grace)


if __name__ == "__main__":
    sys.exit(main())
