"""A ranged GET of the first byte, to learn size and identity (never a HEAD: googlevideo punishes it)."""

from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus

from downloader.errors import DownloadError
from downloader.fetch import answers
from downloader.fetch.http import Head
from downloader.fetch.identity import Identity, identity_of
from downloader.fetch.limits import Limits
from downloader.fetch.route import Request


class Probe:
    """See Exchange. ``answer`` is called once: with the identity, or None when the host would not say.

    ``failed`` says that it may do so another time: there was no answer, or one of trouble.
    """

    def __init__(self, request: Request, limits: Limits, answer: Callable[[Identity | None], None]) -> None:
        self.request = replace(request, mode="header")
        self.headers: tuple[str, ...] = ("Range: bytes=0-0",)
        self.patience = limits.media
        self.ended = False
        self.failed = True
        self._answer = answer
        self._found: Identity | None = None

    def head(self, head: Head) -> None:
        """See Exchange."""
        self.failed = head.status == HTTPStatus.TOO_MANY_REQUESTS or head.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        if head.status == answers.PARTIAL:
            answers.check_content(self.request.host, head, text=False)
            found = answers.check_partial(self.request.host, head, 0)
            self._found = identity_of(head, found.total)

    def body(self, _data: bytes) -> int | None:
        """See Exchange: the head has said it all."""
        return None if self._found is not None else -1

    def over(self, _error: DownloadError | None) -> None:
        """See Exchange."""
        self.ended = True
        self._answer(self._found)
