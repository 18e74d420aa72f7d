"""A job that ends from outside."""

import threading

from downloader.errors import Cancelled, DownloadError


class Stop:
    """Ends a job from outside."""

    def __init__(self, error: DownloadError | None = None) -> None:
        self.error = error or Cancelled("The job was cancelled.")
        self.set = threading.Event()

    def check(self) -> None:
        if self.set.is_set():
            raise self.error
