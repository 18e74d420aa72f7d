"""The façade over curl: sends requests, hands over heads and bodies, and speaks of failures in our errors only.

A ``Wire`` belongs to one thread. It drives curl's multi interface by sockets (epoll), so its cost does not grow with
the number of idle connections nor end at select's 1,024 descriptors.
"""

import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import urljoin

import pycurl

from downloader.errors import BlockedAddress, DownloadError, SourceInvalid, UpstreamUnavailable
from downloader.fetch.failures import curl_error, disk_error
from downloader.fetch.guard import Policy
from downloader.fetch.http import REDIRECTS, Head, parse_head
from downloader.fetch.limits import Limits, Patience
from downloader.fetch.route import Follower, Request, Router

_CA_FILE = ssl.get_default_verify_paths().cafile
_EVENTS = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_BUFFER = 1 << 20  # what curl reads from a socket at once, in bytes
_WATCH = 0.1  # seconds between looks at stalled transfers
_FAREWELL = 0.3  # seconds that closing connections usually ends well within
_INFORMATIONAL = range(100, 200)


class Exchange(Protocol):
    """One request and what becomes of its answer. All methods are called in the wire's thread."""

    request: Request
    headers: tuple[str, ...]
    """Header lines besides the request's own."""
    patience: Patience
    """When the connection counts as stalled."""

    def head(self, head: Head) -> None:
        """The final answer's head, before its first body byte. Raises a DownloadError to refuse it, or OSError."""

    def body(self, data: bytes, /) -> int | None:
        """The next bytes. None goes on; -1 ends the transfer; may raise OSError or DownloadError."""

    def over(self, error: DownloadError | None) -> None:
        """It is over: ``error`` is None when the answer came whole. Called once, unless the wire is told to abort."""


class _Socket(socket.socket):
    """A socket that closes quietly: pycurl works on a duplicate of its descriptor and drops the object."""

    def __del__(self) -> None:
        self.close()


class _Transfer:
    """An exchange on its way: one easy handle, over all its redirects."""

    __slots__ = (
        "blocked", "curl", "error", "exchange", "headed", "hops", "lines", "location", "marked", "marked_at", "request",
        "started",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, curl: pycurl.Curl) -> None:
        self.exchange = exchange
        self.curl = curl
        self.request = exchange.request
        self.hops = 0
        self.begin(0.0)

    def begin(self, now: float) -> None:
        self.started = now
        self.headed = False
        self.marked, self.marked_at = 0, now
        self.lines: list[bytes] = []
        self.location: str | None = None
        self.error: DownloadError | None = None
        self.blocked: str | None = None

    def header(self, line: bytes) -> int | None:
        """Curl's header callback: line by line; a new status line (after a 1xx) begins anew."""
        if line.startswith(b"HTTP/"):
            self.lines = [line]
        elif line not in (b"\r\n", b"\n"):
            self.lines.append(line)
        elif not self.headed:
            return self._headed(parse_head(self.lines))
        return None

    def _headed(self, head: Head) -> int | None:
        if head.status in _INFORMATIONAL:
            return None
        self.headed = True
        if head.status in REDIRECTS:
            self.location = head.get("location")
            if self.location is None:
                self.error = SourceInvalid(f"The media host {self.request.host} redirects to nowhere.")
            return -1
        try:
            self.exchange.head(head)
        except DownloadError as error:
            self.error = error
        except OSError as error:
            self.error = disk_error(error)
        return None if self.error is None else -1

    def stalled(self, now: float) -> str | None:
        """Why the transfer counts as stalled, in words, or None."""
        patience = self.exchange.patience
        if not self.headed:
            return "does not answer" if now - self.started > patience.first_byte else None
        received = self.curl.getinfo(pycurl.SIZE_DOWNLOAD_T)
        if received - self.marked >= patience.low_speed * patience.low_speed_time:
            self.marked, self.marked_at = received, now
        return "is too slow" if now - self.marked_at > patience.low_speed_time else None

    def body(self, data: bytes) -> int | None:
        """Curl's body callback for exchanges whose bodies may raise."""
        try:
            return self.exchange.body(data)
        except DownloadError as error:
            self.error = error
        except OSError as error:
            self.error = disk_error(error)
        return -1

    def open_socket(self, _purpose: int, address: Any) -> Any:
        """Curl's socket callback: the address check on every connection that is opened."""
        if not self.request.policy.permits(address.addr[0]):
            self.blocked = address.addr[0]
            return pycurl.SOCKET_BAD
        return _Socket(address.family, address.socktype, address.protocol)

    def before_request(self, ip: str, _local_ip: str, _port: int, _local_port: int) -> int:
        """Curl's check before each request, on reused connections too. It must never raise."""
        if self.request.policy.permits(ip):
            return int(pycurl.PREREQFUNC_OK)
        self.blocked = ip
        return int(pycurl.PREREQFUNC_ABORT)


class Wire:
    """Everything on its way for one job. ``resolve`` pins names to addresses, as curl's RESOLVE option does."""

    def __init__(
        self,
        router: Router,
        limits: Limits,
        *,
        http2: bool = False,
        proxy: str = "",
        resolve: tuple[str, ...] = (),
        ca_file: str | None = _CA_FILE,
    ) -> None:
        self._router = router
        self._limits = limits
        self._http2 = http2
        self._proxy = proxy
        self._resolve = list(resolve)
        self._ca_file = ca_file
        self._poll = select.epoll()
        self._woken = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._woken, select.EPOLLIN)
        self._lock = threading.Lock()
        self._pools: dict[Policy, _Pool] = {}
        self._by_fd: dict[int, _Pool] = {}
        self._transfers: dict[pycurl.Curl, _Transfer] = {}
        self._idle: list[pycurl.Curl] = []
        self._watched_at = 0.0

    def start(self, exchange: Exchange) -> None:
        """Send the exchange's request; its methods are called from ``run``."""
        self._send(_Transfer(exchange, self._idle.pop() if self._idle else pycurl.Curl()))

    def wake(self) -> None:
        """Let ``run`` come back early; from any thread, also after ``close``."""
        with self._lock:
            if self._woken >= 0:
                os.eventfd_write(self._woken, 1)

    def run(self, seconds: float) -> bool:
        """Move bytes for up to ``seconds``; True when it came back early: an exchange has ended, or it was woken."""
        deadline = time.monotonic() + seconds
        ended = False
        while not ended:
            now = time.monotonic()
            if now >= deadline:
                break
            wait = min([deadline - now, *(pool.due - now for pool in self._pools.values())])
            for fd, mask in self._poll.poll(max(0.0, wait)):
                pool = self._by_fd.get(fd)
                if pool is not None:
                    pool.act(fd, mask)
                elif fd == self._woken:
                    os.eventfd_read(fd)
                    ended = True
            now = time.monotonic()
            for pool in list(self._pools.values()):
                if pool.due <= now:
                    pool.expire()
                if pool.changed:
                    ended |= self._collect(pool)
        self._watch()
        return ended

    def abort(self, exchange: Exchange) -> None:
        """Cut the exchange off, without calling its ``over``. Its connection is closed."""
        for transfer in list(self._transfers.values()):
            if transfer.exchange is exchange:
                self._remove(transfer)

    def close(self) -> None:
        """Cut everything off and close every connection."""
        for transfer in list(self._transfers.values()):
            self._remove(transfer)
        # curl waits for a name server that does not answer, up to 10 s: not in the job's thread.
        closing = threading.Thread(target=_close, args=(list(self._pools.values()),), name="fetch-close", daemon=True)
        closing.start()
        closing.join(_FAREWELL)
        self._pools.clear()
        for curl in self._idle:
            curl.close()
        self._idle.clear()
        self._poll.close()
        with self._lock:
            os.close(self._woken)
            self._woken = -1

    def _send(self, transfer: _Transfer) -> None:
        pool = self._pools.get(transfer.request.policy)
        if pool is None:
            pool = self._pools[transfer.request.policy] = _Pool(self._poll, self._by_fd)
        self._set_up(transfer)
        transfer.begin(time.monotonic())
        pool.multi.add_handle(transfer.curl)
        self._transfers[transfer.curl] = transfer  # only now: what curl does not have cannot be removed from it

    def _set_up(self, transfer: _Transfer) -> None:
        curl, request, exchange = transfer.curl, transfer.request, transfer.exchange
        curl.setopt(pycurl.URL, request.url)
        curl.setopt(
            pycurl.HTTPHEADER, [*request.headers, *exchange.headers, "Accept: */*", "Accept-Encoding: identity"]
        )
        curl.setopt(pycurl.WRITEFUNCTION, transfer.body)
        curl.setopt(pycurl.HEADERFUNCTION, transfer.header)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, transfer.open_socket)
        curl.setopt(pycurl.PREREQFUNCTION, transfer.before_request)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.FOLLOWLOCATION, 0)
        curl.setopt(pycurl.HTTP09_ALLOWED, 0)
        # An empty string, because an unset proxy is taken from the environment.
        curl.setopt(pycurl.PROXY, self._proxy if request.policy.by_proxy else "")
        curl.setopt(pycurl.NOPROXY, "")
        version = pycurl.CURL_HTTP_VERSION_2TLS if self._http2 else pycurl.CURL_HTTP_VERSION_1_1
        curl.setopt(pycurl.HTTP_VERSION, version)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.BUFFERSIZE, _BUFFER)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, int(self._limits.connect * 1000))
        if self._ca_file:
            curl.setopt(pycurl.CAINFO, self._ca_file)
            curl.setopt(pycurl.PROXY_CAINFO, self._ca_file)
        if self._resolve:
            curl.setopt(pycurl.RESOLVE, self._resolve)

    def _collect(self, pool: "_Pool") -> bool:
        """End what curl says is over; True when anything was."""
        pool.changed = False
        ended = False
        left = 1
        while left:
            left, good, bad = pool.multi.info_read()
            over = [(curl, 0) for curl in good] + [(curl, code) for curl, code, _ in bad]
            for curl, code in over:
                transfer = self._transfers.get(curl)  # None: an earlier one's end has aborted it
                if transfer is not None:
                    ended = True
                    self._over(transfer, code)
        return ended

    def _over(self, transfer: _Transfer, code: int) -> None:
        error = self._error(transfer, code)
        if transfer.location is not None and error is None:
            try:
                self._redirect(transfer)
            except DownloadError as refused:
                error = refused
            else:
                return
        self._remove(transfer)
        transfer.exchange.over(error)

    def _error(self, transfer: _Transfer, code: int) -> DownloadError | None:
        if transfer.blocked is not None and code in (pycurl.E_COULDNT_CONNECT, pycurl.E_ABORTED_BY_CALLBACK):
            return BlockedAddress(f"The media host {transfer.request.host} leads to an address that is not public.")
        if transfer.error is not None or transfer.location is not None or code == 0:
            return transfer.error
        return curl_error(transfer.request.host, code)

    def _redirect(self, transfer: _Transfer) -> None:
        """Follow by hand: every hop is a request of its own, with its own check, policy and headers."""
        transfer.hops += 1
        if transfer.hops > self._limits.redirects:
            raise SourceInvalid(f"The media host {transfer.request.host} redirects too often.")
        url = urljoin(transfer.request.url, transfer.location)
        request = self._router.request(url, came_from=transfer.request)
        self._take_out(transfer)
        transfer.request = request
        if isinstance(transfer.exchange, Follower):
            transfer.exchange.redirected(request)
        self._send(transfer)

    def _remove(self, transfer: _Transfer) -> None:
        self._take_out(transfer)
        self._idle.append(transfer.curl)

    def _take_out(self, transfer: _Transfer) -> None:
        del self._transfers[transfer.curl]
        self._pools[transfer.request.policy].multi.remove_handle(transfer.curl)

    def _watch(self) -> None:
        """End what stalls: curl's own low-speed check averages over five more seconds and has no limit for heads."""
        now = time.monotonic()
        if now < self._watched_at + _WATCH:
            return
        self._watched_at = now
        for transfer in list(self._transfers.values()):
            reason = transfer.stalled(now)
            if reason is not None and transfer.curl in self._transfers:
                self._remove(transfer)
                host = transfer.request.host
                transfer.exchange.over(UpstreamUnavailable(f"The media host {host} {reason}."))


class _Pool:
    """One multi handle: the connections of one policy, with curl's wishes about sockets and time."""

    def __init__(self, poll: select.epoll, by_fd: "dict[int, _Pool]") -> None:
        self.multi = pycurl.CurlMulti()
        self.due = float("inf")
        self.changed = False
        self._poll = poll
        self._by_fd = by_fd
        self.multi.setopt(pycurl.M_SOCKETFUNCTION, self._socket)
        self.multi.setopt(pycurl.M_TIMERFUNCTION, self._timer)

    def act(self, fd: int, mask: int) -> None:
        """Tell curl that ``fd`` is ready."""
        bits = pycurl.CSELECT_IN if mask & (select.EPOLLIN | select.EPOLLHUP) else 0
        bits |= pycurl.CSELECT_OUT if mask & select.EPOLLOUT else 0
        bits |= pycurl.CSELECT_ERR if mask & select.EPOLLERR else 0
        self.multi.socket_action(fd, bits)
        self.changed = True

    def expire(self) -> None:
        """Tell curl that its time has come."""
        self.due = float("inf")
        self.multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self.changed = True

    def _socket(self, event: int, fd: int, _multi: Any, _data: Any) -> None:
        if event == pycurl.POLL_REMOVE:
            if self._by_fd.pop(fd, None) is not None:
                _quietly(self._poll.unregister, fd)
        elif fd in self._by_fd:
            self._poll.modify(fd, _EVENTS[event])
        else:
            self._by_fd[fd] = self
            self._poll.register(fd, _EVENTS[event])

    def _timer(self, milliseconds: int) -> None:
        self.due = float("inf") if milliseconds < 0 else time.monotonic() + milliseconds / 1000


def _close(pools: "list[_Pool]") -> None:
    """Close every connection of ``pools``."""
    for pool in pools:
        pool.multi.close()


def _quietly(call: Callable[[int], Any], fd: int) -> None:
    """Unregister a descriptor that curl may have closed already."""
    try:
        call(fd)
    except (OSError, ValueError):
        return


def utc_now() -> datetime:
    """Wall time, for Retry-After dates."""
    return datetime.now(UTC)
