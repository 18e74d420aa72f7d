"""Time as a value that is passed in: what reads a clock can be tested without waiting."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where code gets its time from."""

    def now(self) -> datetime:
        """Wall time, aware, UTC: for what people read."""

    def monotonic(self) -> float:
        """Seconds that never go back: for durations and deadlines."""

    def sleep(self, seconds: float) -> None:
        """Wait that long."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """See Clock."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """See Clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """See Clock."""
        time.sleep(seconds)
