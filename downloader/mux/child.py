"""The contained process: loads FFmpeg once, then forks the processes that do the orders.

It holds one socket and nothing else: no thread, no connection, no secret, so a fork of it is safe and quick, where a
fresh interpreter with FFmpeg takes 200 ms. A fork costs half as much again as a small order (1,200 page faults), so a
few small orders in a row may share one, each in a thread behind walls of its own; an order that is ``alone`` has a
fresh fork whose walls stand around the whole process. A fork ends with the first order that does not go well, and takes
its memory and damage with it.
"""

import ctypes
import gc
import importlib
import os
import pkgutil
import select
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import NoReturn

import av
import msgspec

from downloader.errors import DownloadError
from downloader.mux import containment
from downloader.mux.order import Advanced, Begun, Broken, Exited, Failed, Finished, Idle, Message, Order, Ready
from downloader.mux.work import perform, warm_up

_PROGRESS_SECONDS = 0.1
_RECEIVE = 1 << 20
_ORDERS_A_FORK = 8
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT, _LARGEST_KEPT = 64 << 20, 32 << 20  # bytes


def main(descriptor: int, root: str = "") -> None:
    """Serve orders for folders below ``root`` from the socket ``descriptor`` until its other end closes."""
    av.logging.set_level(None)
    channel = socket.socket(fileno=descriptor)
    try:
        _keep_memory()
        _load()
        warm_up()
        walls = containment.enclose(Path(root) if root else None)
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


def _keep_memory() -> None:
    """Have malloc keep what packets leave free (mallopt(3)): to get it anew was 20,000 page faults a gigabyte."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc alone has it
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)


def _serve_one(channel: socket.socket) -> int:
    """Fork a process that waits for orders and does them; its exit status.

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
        for left in reversed(range(_ORDERS_A_FORK)):
            line = _line(channel)
            if not line.strip():
                break  # the engine wants a fresh fork for what comes next
            order = msgspec.json.decode(line, type=Order)
            _send(channel, Begun())
            worker = _Worker(order, channel)
            if order.alone:
                worker.run()
            else:
                worker.start()
                worker.join()
            _send(channel, worker.outcome)
            if order.alone or not left or not isinstance(worker.outcome, Finished):
                break
            _send(channel, Idle())
    finally:
        os._exit(0)


class _Worker(threading.Thread):
    """Does one order behind its walls, which stand around the thread that runs it; ``outcome`` is how it ended."""

    def __init__(self, order: Order, channel: socket.socket) -> None:
        super().__init__(daemon=True)
        self._order = order
        self._channel = channel
        self.outcome: Finished | Failed | Broken = Broken("The order was not begun.")

    def run(self) -> None:
        order = self._order
        try:
            containment.confine(Path(order.work), order.output_limit, order.cpu_limit, final=order.alone)
            self.outcome = perform(order, _Reporter(self._channel))
        except DownloadError as error:
            self.outcome = Failed(type(error).__name__, error.message)
        except BaseException:  # noqa: BLE001 - a bug: its trace goes to the engine's log, not to a client
            self.outcome = Broken(traceback.format_exc())


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
    main(int(sys.argv[1]), *sys.argv[2:])
