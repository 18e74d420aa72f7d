"""How a step that did not succeed ends: the one place that counts crashes and retries against their limits."""

import random
from dataclasses import dataclass

from downloader.errors import DownloadError, Draining, StepCrashed, Verdict
from downloader.store import Claim, Lapsed

MAX_CRASHES = 3
MAX_RETRIES = 4
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
_ROOM_PAUSE_SECONDS = 5.0
# As long as a host may make a job wait (Retry-After): somebody waits for the job, and a host may ask for years.
LONGEST_WISH_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Ending:
    """What to write: ``delay`` in seconds for a step that is ready again; how much to add to its counters."""

    verdict: Verdict
    code: str
    message: str
    delay: float = 0.0
    crashes: int = 0
    retries: int = 0


def decide(claim: Claim | Lapsed, error: DownloadError) -> Ending:
    """The ending of a claim that ended with ``error``."""
    if isinstance(error, StepCrashed):
        return crashed(claim.crashes, error)
    if error.verdict is Verdict.HAND_BACK:
        pause = 0.0 if isinstance(error, Draining) else _pause(error, _ROOM_PAUSE_SECONDS)
        return Ending(Verdict.HAND_BACK, error.code, error.message, delay=pause)
    if error.verdict is Verdict.RETRY and isinstance(claim, Claim) and claim.retries < MAX_RETRIES:
        pause = min(_FIRST_PAUSE_SECONDS * 4**claim.retries, _LONGEST_PAUSE_SECONDS) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
        return Ending(Verdict.RETRY, error.code, error.message, delay=_pause(error, pause), retries=1)
    if error.verdict is Verdict.CANCELLED:
        return Ending(Verdict.CANCELLED, error.code, error.message)
    return Ending(Verdict.FAIL, error.code, error.message)


def crashed(crashes: int, error: StepCrashed) -> Ending:
    """The ending of a step that crashed after ``crashes`` earlier crashes: the third ends the job."""
    if crashes + 1 >= MAX_CRASHES:
        message = f"{error.message} It happened {MAX_CRASHES} times, so the job was given up."
        return Ending(Verdict.FAIL, error.code, message, crashes=1)
    return Ending(Verdict.RETRY, error.code, error.message, crashes=1)


def _pause(error: DownloadError, least: float) -> float:
    """Seconds until the next try: ``least``, or as long as the error asks for within reason."""
    return max(least, min(error.retry_after or 0.0, LONGEST_WISH_SECONDS))
