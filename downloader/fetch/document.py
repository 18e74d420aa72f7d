"""A small thing fetched into memory: a playlist, a key."""

from collections.abc import Callable

from downloader.errors import DownloadError
from downloader.fetch.failures import RangeRefused, status_error
from downloader.fetch.http import Head
from downloader.fetch.limits import Patience
from downloader.fetch.route import Request
from downloader.fetch.transfer import utc_now

_OK = 200
Answer = Callable[["Document", DownloadError | None], None]


class Document:
    """See Exchange. ``answer`` is called once, with this or with why there is none; ``data`` is what came.

    ``source`` is the request that was answered, which is another one than ``request`` after a redirect.
    """

    def __init__(self, request: Request, most: int, patience: Patience, answer: Answer) -> None:
        self.request = self.source = request
        self.headers: tuple[str, ...] = ()
        self.patience = patience
        self.data = b""
        self._most = most
        self._answer = answer

    def redirected(self, request: Request) -> None:
        """See Follower."""
        self.source = request

    def head(self, head: Head) -> None:
        """See Exchange."""
        if head.status != _OK:
            raise status_error(self.request.host, head, utc_now())
        if head.encoded:
            raise RangeRefused(f"The media host {self.request.host} used a coding that was not asked for.")

    def body(self, data: bytes) -> int | None:
        """See Exchange."""
        self.data += data
        if len(self.data) > self._most:
            raise RangeRefused(f"The media host {self.request.host} sent far more than was asked for.")
        return None

    def over(self, error: DownloadError | None) -> None:
        """See Exchange."""
        self._answer(self, error)
