"""From what went wrong on the wire (curl's codes, HTTP's status codes, the disk's errno) to our errors.

Sentences name the host at most: never a path or a query, which may be a presigned secret.
"""

import errno
from datetime import datetime

import pycurl

from downloader.errors import (
    DownloadError,
    DownloadFailed,
    InsufficientStorage,
    SourceForbidden,
    SourceGone,
    SourceInvalid,
    StorageFailed,
    UpstreamUnavailable,
)
from downloader.fetch.http import Head, retry_after

# https://curl.se/libcurl/c/libcurl-errors.html; everything not named here is a transfer that broke.
_WEIRD_SERVER_REPLY, _HTTP2_STREAM, _TOO_LARGE = 8, 92, 100  # pycurl has no names for them
_UNREACHABLE = {
    pycurl.E_OPERATION_TIMEDOUT: "it did not answer in time",  # connecting is all that curl itself times
    pycurl.E_COULDNT_RESOLVE_HOST: "its name was not found",
    pycurl.E_COULDNT_RESOLVE_PROXY: "the proxy's name was not found",
    pycurl.E_COULDNT_CONNECT: "it refused the connection",
    pycurl.E_PEER_FAILED_VERIFICATION: "its certificate is not valid",
    pycurl.E_SSL_CONNECT_ERROR: "the secure connection failed",
}
_BROKEN = {
    pycurl.E_PARTIAL_FILE: "it closed the connection too early",
    pycurl.E_GOT_NOTHING: "it answered nothing",
    pycurl.E_RECV_ERROR: "the connection broke",
    pycurl.E_SEND_ERROR: "the connection broke",
    pycurl.E_HTTP2: "the HTTP/2 connection broke",
    _HTTP2_STREAM: "the HTTP/2 stream broke",
}
_INVALID = {
    _WEIRD_SERVER_REPLY: "its answer is not HTTP",
    pycurl.E_UNSUPPORTED_PROTOCOL: "its answer is not HTTP",
    _TOO_LARGE: "its answer's header is too large",
    pycurl.E_FILESIZE_EXCEEDED: "it declares an absurd length",
    pycurl.E_BAD_CONTENT_ENCODING: "its answer is coded in an unknown way",
}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BUSY, _UNAVAILABLE = 429, 503
_TRANSIENT = frozenset({408, 425, _BUSY})
_REFUSED = frozenset({401, 402, 403, 407, 451})
_GONE = frozenset({404, 410})
_SERVER_ERROR = 500


class HostBusy(UpstreamUnavailable):
    """The host asks for fewer requests (429, 503)."""


class RangeRefused(SourceInvalid):
    """The host's answer to a range breaks the range protocol: another try, or another way of asking, may do."""


class LengthUnknown(RangeRefused):
    """The host does not say how long the media is."""


def curl_error(host: str, code: int) -> DownloadError:
    """The error for curl's ``code`` on a transfer from ``host``."""
    if code in _INVALID:
        return RangeRefused(f"The media host {host} cannot be used: {_INVALID[code]}.")
    if code in _UNREACHABLE:
        return UpstreamUnavailable(f"The media host {host} cannot be reached: {_UNREACHABLE[code]}.")
    return DownloadFailed(f"The download from {host} failed: {_BROKEN.get(code, f'transfer error {code}')}.")


def status_error(host: str, head: Head, now: datetime) -> DownloadError:
    """The error for an answer of ``host`` that is no success."""
    status = head.status
    pause = retry_after(head.get("retry-after"), now)
    if status in (_BUSY, _UNAVAILABLE):
        return HostBusy(f"The media host {host} is overloaded (status {status}).", retry_after=pause)
    if status >= _SERVER_ERROR or status in _TRANSIENT:
        return UpstreamUnavailable(f"The media host {host} has a problem (status {status}).", retry_after=pause)
    if status in _REFUSED:
        return SourceForbidden(f"The media host {host} refuses the media (status {status}).")
    if status in _GONE:
        return SourceGone(f"The media host {host} does not have the media any more (status {status}).")
    return RangeRefused(f"The media host {host} gave an answer that cannot be used (status {status}).")


def disk_error(error: OSError) -> DownloadError:
    """The error for a write that the disk refused."""
    if error.errno in _FULL:
        return InsufficientStorage("The disk is full.")
    return StorageFailed(f"The work folder cannot be written: {error.strerror}.")
