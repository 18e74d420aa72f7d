"""The contained process: loads FFmpeg once, then forks a process of its own for every order.

It holds one socket and nothing else: no thread, no connection, no secret, so a fork of it is safe and takes about a
millisecond, where a fresh interpreter with FFmpeg takes 200. Each order runs in its own fork, behind its own walls,
and takes its memory and its damage with it.
"""

import gc
import importlib
import os
import pkgutil
import select
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import NoReturn

import av
import msgspec

from downloader.errors import DownloadError
from downloader.mux import containment
from downloader.mux.order import Advanced, Begun, Broken, Exited, Failed, Message, Order, Ready
from downloader.mux.work import perform, warm_up

_PROGRESS_SECONDS = 0.1
_RECEIVE = 1 << 20


def main(descriptor: int) -> None:
    """Serve orders from the socket ``descriptor`` until its other end closes."""
    av.logging.set_level(None)
    channel = socket.socket(fileno=descriptor)
    try:
        _load()
        warm_up()
        walls = containment.enclose()
    except BaseException:
        _send(channel, Broken(traceback.format_exc()))
        raise
    gc.collect()
    gc.freeze()
    _send(channel, Ready(walls))
    while True:
        _send(channel, Exited(_serve_one(channel)))


def _load() -> None:
    """Import all of PyAV: it loads parts when first used, which a fork cannot do from behind its walls."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith(("__main__", "datasets", "about")):
            importlib.import_module(module.name)


def _serve_one(channel: socket.socket) -> int:
    """Fork a process that waits for the next order and does it; its exit status.

    It is forked ahead of the order, so that no order waits for it. When the engine is gone, so is this process, and
    with it the fork.
    """
    owner = os.getpid()
    pid = os.fork()
    if not pid:
        _work(channel, owner)
    descriptor = os.pidfd_open(pid)
    watch = select.poll()
    watch.register(descriptor, select.POLLIN)
    watch.register(channel, select.POLLRDHUP)
    watch.poll()
    os.close(descriptor)
    done, status = os.waitpid(pid, os.WNOHANG)
    if not done:
        os._exit(0)
    return os.waitstatus_to_exitcode(status)


def _work(channel: socket.socket, owner: int) -> NoReturn:
    """The fork."""
    try:
        containment.die_with(owner)
        order = msgspec.json.decode(_line(channel), type=Order)
        _send(channel, Begun())
        containment.confine(Path(order.work), order.output_limit, order.cpu_limit)
        _send(channel, perform(order, _Reporter(channel)))
    except DownloadError as error:
        _send(channel, Failed(type(error).__name__, error.message))
    except BaseException:  # noqa: BLE001 - a bug: its trace goes to the engine's log, not to a client
        _send(channel, Broken(traceback.format_exc()))
    finally:
        os._exit(0)


def _line(channel: socket.socket) -> bytes:
    """The next order, after waiting for it; ends the process when the engine is gone."""
    parts = [b""]
    while not parts[-1].endswith(b"\n"):
        parts.append(channel.recv(_RECEIVE))
        if not parts[-1]:
            os._exit(0)
    return b"".join(parts)


class _Reporter:
    """Sends progress, at most ten times a second; the engine takes silence for a hang, so every call counts."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._next = time.monotonic() + _PROGRESS_SECONDS

    def __call__(self, done: float, total: float) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _PROGRESS_SECONDS
            _send(self._channel, Advanced(round(done * 1000), round(total * 1000)))


def _send(channel: socket.socket, message: Message) -> None:
    channel.sendall(msgspec.json.encode(message) + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
