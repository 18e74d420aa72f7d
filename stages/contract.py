"""The stage contract: what a stage is given and what it gives back. A stage sees neither Redis nor Postgres."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from downloader.clock import Clock
from downloader.config import Settings
from downloader.handoff import Achieved
from downloader.job import Job

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StepContext:
    """Everything a stage may use for one step.

    ``inputs`` are the outputs of the steps it needs, by step name, as JSON values: ``take`` reads one as a type.
    ``work`` is ``DATA_DIR/jobs/<id>/``; files that belong to this attempt alone carry ``epoch`` in their name.
    ``authorization`` is the caller's header, decrypted, or None. ``progress(done, total)`` (bytes, or any unit that
    rises) may be called as often as one likes and costs nothing; ``check()`` raises Cancelled, LeaseLost, Draining or
    TimedOut, is cheap, and must be called at least every half second. Both are safe from any thread.
    ``reserve(bytes)`` sets disk aside for all that ``work`` will come to hold, what lies there already included, over
    all processes of the volume, replacing what the job held; raises NoRoomYet, InsufficientStorage or LeaseLost.
    """

    job: Job
    name: str
    epoch: int
    attempt: int
    inputs: Mapping[str, Any]
    work: Path
    settings: Settings
    clock: Clock
    authorization: str | None
    progress: Callable[[int, int], None]
    check: Callable[[], None]
    reserve: Callable[[int], None]

    def take(self, name: str, kind: type[T]) -> T:
        """The outputs of step ``name`` as ``kind``; raises msgspec.ValidationError when they are none."""
        return msgspec.convert(self.inputs[name], kind)


class StepResult(Achieved, frozen=True, kw_only=True):
    """What a step achieved; ``fields`` are figures for its log line, such as bytes moved."""

    fields: Mapping[str, int | float | str] = {}


class Stage(Protocol):
    """One kind of work. Built once per process by its factory; ``run`` may be called from several threads."""

    def run(self, step: StepContext) -> StepResult:
        """Do the step.

        Called by the runner after a claim, in a slot's own thread; may block, must call ``step.check()`` meanwhile.
        Running it twice gives the same outputs. Raises errors of downloader.errors only; all else counts as a crash.
        """

    def close(self) -> None:
        """End what the stage holds open. Called once, when the process drains."""
