"""One GET by libcurl that a check can interrupt, on a connection that stays warm from one to the next.

The multi interface instead of a plain perform: libcurl calls a progress function only once a second when nothing
moves, and a cancel must be seen sooner.
"""

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pycurl

# The wheel's libcurl looks where another distribution keeps its certificates.
_CA_FILE = ssl.get_default_verify_paths().cafile
_POLL_SECONDS = 0.1
_CONNECT_SECONDS = 10
_FAREWELL = 0.1  # seconds that closing a connection usually ends well within
_MAX_HEADER_BYTES = 65_536


class TransferFailed(Exception):
    """No whole answer came. The message is a short reason without the URL."""


class AnswerTooLarge(Exception):
    """The answer went beyond the limit; it was not read on."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Header names in lower case; of a repeated header the last."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """A curl handle and its warm connection. For one thread at a time.

    ``ca_file`` holds the certificates that are trusted (PEM); None leaves it to libcurl.
    """

    def __init__(self, ca_file: str | None = _CA_FILE) -> None:
        self._ca_file = ca_file
        self._easy = pycurl.Curl()
        self._multi = pycurl.CurlMulti()

    def close(self) -> None:
        """End the connection."""
        # curl waits for a name server that does not answer, up to 10 s: not in the caller's thread.
        closing = threading.Thread(target=self._end, name="typetype-close", daemon=True)
        closing.start()
        closing.join(_FAREWELL)

    def _end(self) -> None:
        self._multi.close()
        self._easy.close()

    def get(self, url: str, headers: list[str], *, seconds: float, max_bytes: int, check: Callable[[], None]) -> Answer:
        """The answer to a GET of ``url`` within ``seconds``.

        Raises TransferFailed, AnswerTooLarge, or what ``check`` raises.

        Redirects are not followed and proxies of the environment not used.
        """
        receiver = _Receiver(max_bytes)
        self._prepare(url, headers, seconds, receiver)
        self._multi.add_handle(self._easy)
        try:
            code, reason = self._perform(check)
        finally:
            self._multi.remove_handle(self._easy)
        if receiver.too_large:
            raise AnswerTooLarge
        if code != pycurl.E_OK:
            raise TransferFailed(_REASONS.get(code, reason or "the transfer broke off"))
        return Answer(self._easy.getinfo(pycurl.RESPONSE_CODE), receiver.headers, b"".join(receiver.pieces))

    def _prepare(self, url: str, headers: list[str], seconds: float, receiver: "_Receiver") -> None:
        easy = self._easy
        easy.reset()
        easy.setopt(pycurl.URL, url.encode("utf-8"))
        easy.setopt(pycurl.HTTPHEADER, [line.encode("latin-1", "replace") for line in headers])
        easy.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        easy.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        easy.setopt(pycurl.PROXY, "")
        easy.setopt(pycurl.NOSIGNAL, 1)
        easy.setopt(pycurl.FOLLOWLOCATION, 0)
        easy.setopt(pycurl.CONNECTTIMEOUT, _CONNECT_SECONDS)
        easy.setopt(pycurl.TIMEOUT_MS, max(1, int(seconds * 1000)))
        if self._ca_file:
            easy.setopt(pycurl.CAINFO, self._ca_file)
        easy.setopt(pycurl.WRITEFUNCTION, receiver.write)
        easy.setopt(pycurl.HEADERFUNCTION, receiver.header)

    def _perform(self, check: Callable[[], None]) -> tuple[int, str]:
        """Drive the one transfer to its end: libcurl's code and words."""
        while True:
            self._multi.perform()
            _, done, failed = self._multi.info_read()
            if done:
                return pycurl.E_OK, ""
            if failed:
                return failed[0][1], failed[0][2]
            check()
            if self._multi.select(_POLL_SECONDS) == -1:  # nothing to wait on yet: a name is being looked up
                time.sleep(0.005)


class _Receiver:
    """Takes an answer's headers and body in, within bounds. The callbacks must not raise: curl would only print it."""

    def __init__(self, max_bytes: int) -> None:
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.too_large = False
        self._left = max_bytes
        self._header_left = _MAX_HEADER_BYTES

    def write(self, piece: bytes) -> int:
        self._left -= len(piece)
        if self._left < 0:
            self.too_large = True
            return 0
        self.pieces.append(piece)
        return len(piece)

    def header(self, line: bytes) -> int:
        self._header_left -= len(line)
        if self._header_left < 0:
            self.too_large = True
            return 0
        if line.startswith(b"HTTP/"):
            self.headers.clear()
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            self.headers[name.strip().lower()] = value.strip()
        return len(line)


_REASONS = {
    pycurl.E_COULDNT_RESOLVE_HOST: "its name cannot be resolved",
    pycurl.E_COULDNT_CONNECT: "the connection is refused",
    pycurl.E_OPERATION_TIMEDOUT: "it did not answer in time",
    pycurl.E_GOT_NOTHING: "it closed the connection without an answer",
    pycurl.E_RECV_ERROR: "the connection broke off",
    pycurl.E_SEND_ERROR: "the connection broke off",
    pycurl.E_PARTIAL_FILE: "its answer was cut short",
    pycurl.E_FTP_WEIRD_SERVER_REPLY: "its answer is not HTTP",
    pycurl.E_UNSUPPORTED_PROTOCOL: "its answer is not HTTP",
    pycurl.E_PEER_FAILED_VERIFICATION: "its certificate is not trusted",
    pycurl.E_SSL_CONNECT_ERROR: "the TLS handshake failed",
}
