"""Who a stage process is."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Worker:
    """``identity`` is unique to this life of the process; its slots are ``identity/0``, ``identity/1`` and so on.

    ``succeeds`` are dead processes whose work it takes over first; ``lifeline`` is the reading end of a pipe that
    closes with the supervisor.
    """

    stage: str
    identity: str
    slots: int
    succeeds: Sequence[str] = ()
    lifeline: int | None = None

    def slot(self, number: int) -> str:
        """The name under which a slot claims and reads."""
        return f"{self.identity}/{number}"
