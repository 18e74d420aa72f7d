"""What a thread does over and over as long as its process lives."""

import threading
from collections.abc import Callable

import structlog

# An error that lasts must not fill the log.
_AFTER_ERROR_SECONDS = 1.0

log = structlog.get_logger()


def keep(duty: Callable[[], None], stop: threading.Event, seconds: float) -> None:
    """Do ``duty`` every ``seconds`` until ``stop`` is set; an error that nobody foresaw is logged, and ends nothing."""
    pause = seconds
    while not stop.wait(pause):
        pause = seconds
        try:
            duty()
        except Exception:
            log.exception("duty_failed", duty=getattr(duty, "__qualname__", repr(duty)))
            pause = max(seconds, _AFTER_ERROR_SECONDS)
