"""Where a track's bytes may come from, in order: its link, a fresh link once, TypeType-Server's proxy."""

from collections.abc import Callable
from concurrent.futures import Executor, Future

from downloader.errors import DownloadError, SourceInvalid
from downloader.fetch.route import Request, Router
from downloader.handoff import Track

Refresh = Callable[[Track], Track | None]


class Links:
    """The current link of a track. ``number`` rises with each change, so that late failures of an old one are known."""

    def __init__(self, track: Track, router: Router, refresh: Refresh | None, executor: Executor) -> None:
        self._router = router
        self._refresh = refresh
        self._executor = executor
        self._asking: Future[Track | None] | None = None
        self._reason: DownloadError | None = None
        self._proxied = False
        self.track = track
        self.number = 0
        self.request: Request = router.request(track.url)

    @property
    def waiting(self) -> bool:
        """Whether a fresh link is being asked for."""
        return self._asking is not None

    @property
    def proxied_next(self) -> bool:
        """Whether TypeType-Server's proxy is still to be tried."""
        return self.track.proxy_url is not None and not self._proxied

    def replace(self, error: DownloadError, *, expired: bool) -> None:
        """Give the current link up because of ``error``; raises it when there is no other.

        ``expired``: the host refused it (403, 410), so a fresh link may do.
        """
        if self._asking is not None:
            return
        if expired and self._refresh is not None and not self._proxied:
            refresh, self._refresh = self._refresh, None
            self._reason = error
            self._asking = self._executor.submit(refresh, self.track)
            return
        self._take_proxy(error)

    def settle(self) -> Track | None:
        """Take a fresh link once it is there; returns the fresh track when the link changed to it.

        Raises what resolving again raised, or the reason of the change when there is no link left.
        """
        if self._asking is None or not self._asking.done():
            return None
        asking, self._asking = self._asking, None
        fresh = asking.result()
        if fresh is None:
            self._take_proxy(self._reason or SourceInvalid("The media's link is not valid any more."))
            return None
        self.track = fresh  # its proxy's link too: the old one leads to what has expired
        self.request = self._router.request(fresh.url)
        self.number += 1
        return fresh

    def cancel(self) -> None:
        """Do not wait for a fresh link any more."""
        if self._asking is not None:
            self._asking.cancel()

    def _take_proxy(self, error: DownloadError) -> None:
        if self.track.proxy_url is None or self._proxied:
            raise error from None
        self._proxied = True
        self.request = self._router.request(self.track.proxy_url)
        self.number += 1
