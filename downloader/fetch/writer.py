"""Large writes beside the loop: copying into the page cache costs as much as reading from the socket.

The loop's thread receives while one thread of the job writes, both inside the kernel and without the interpreter's
lock, so a single job uses two cores when the network is faster than one. Small batches are written at once while the
thread has nothing to do, so a slow job starts none; while it has, nobody else writes, because two writers of one file
would only wait for each other. When it falls behind, the loop waits for it: memory stays bounded.
"""

import errno
import os
import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import NamedTuple, Protocol

from downloader.fetch.limits import MIB

GATHER = MIB
"""How many bytes make a batch worth handing over: fewer cost more in waking the thread than they save."""

_MOST = 8 * GATHER  # bytes handed over and not known to be written
_IOV_MAX = 1024  # buffers a call, see sysconf(3)


class Sink(Protocol):
    """Whose bytes they are. Called in the loop's thread."""

    def wrote(self, start: int, end: int) -> None:
        """``[start, end)`` is in the file now."""

    def unwritten(self, error: OSError) -> None:
        """What was handed over could not be written."""


class _Order(NamedTuple):
    sink: Sink
    fd: int
    batch: Sequence[bytes]
    start: int
    size: int


class Writer:
    """Writes for one job. Every method belongs to the loop's thread."""

    def __init__(self) -> None:
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()
        self._ended: SimpleQueue[tuple[_Order, OSError | None]] = SimpleQueue()
        self._waiting = 0
        self._thread: threading.Thread | None = None

    def write(self, sink: Sink, fd: int, batch: Sequence[bytes], start: int, size: int) -> None:
        """Write ``batch`` (``size`` bytes) at ``start``, now or soon; ``fd`` must stay open until ``settle``.

        Raises OSError when it was tried now; otherwise the sink hears of it from here, ``collect`` or ``settle``.
        """
        self.collect()
        if size < GATHER and not self._waiting:
            _write(fd, batch, start, size)
            sink.wrote(start, start + size)
            return
        while self._waiting and self._waiting + size > _MOST:
            self._tell(*self._ended.get())
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="fetch-writer", daemon=True)
            self._thread.start()
        self._waiting += size
        self._orders.put(_Order(sink, fd, batch, start, size))

    def collect(self) -> None:
        """Tell the sinks what has become of their orders by now."""
        while not self._ended.empty():
            self._tell(*self._ended.get())

    def settle(self) -> None:
        """Wait until nothing is on its way any more."""
        while self._waiting:
            self._tell(*self._ended.get())

    def close(self) -> None:
        """Settle, and end the thread."""
        self.settle()
        if self._thread is not None:
            self._orders.put(None)
            self._thread.join()

    def _tell(self, order: _Order, error: OSError | None) -> None:
        self._waiting -= order.size
        if error is None:
            order.sink.wrote(order.start, order.start + order.size)
        else:
            order.sink.unwritten(error)

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            error = None
            try:
                _write(order.fd, order.batch, order.start, order.size)
            except OSError as failure:
                error = failure
            self._ended.put((order, error))
            del order  # its bytes are not to stay until the next one comes


def _write(fd: int, batch: Sequence[bytes], start: int, size: int) -> None:
    buffers = batch if len(batch) <= _IOV_MAX else [b"".join(batch)]
    if os.pwritev(fd, buffers, start) != size:
        raise OSError(errno.ENOSPC, "No space left on device")
