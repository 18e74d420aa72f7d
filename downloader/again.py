"""Running a failed job again, from the first step whose outputs no longer stand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from downloader.artifacts import folders
from downloader.broker import Broker, Delivery
from downloader.errors import BrokerUnavailable
from downloader.job import Entry, Job
from downloader.store import Store
from downloader.store.again import StepOutputs

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Restarted:
    """``ready``: the steps it begins with. ``kept``: the steps whose outputs still stood."""

    ready: tuple[str, ...]
    kept: tuple[str, ...]


def run_again(store: Store, broker: Broker | None, job: Job, work: Path) -> Restarted:
    """Queue the failed ``job``, whose files are in ``work``, once more. Without a broker the janitor adds its entries.

    Raises NotFailed, EqualUnderWay, StoreUnavailable, StorageFailed.
    """
    # Held, so that nobody who still believes that the job has ended takes the folder in between.
    with folders.held(work):
        kept = standing(store.step_outputs(job.id), work)
        ready = store.run_again(job, kept)
    if broker is not None:
        try:
            # Ended: live progress of the run before must not be laid over this one.
            broker.settle(Delivery(Entry("", job.id, "")), add=ready, ended=True)
        except BrokerUnavailable as error:
            log.info("entries_not_added", job=job.id, error=error.message)
    return Restarted(tuple(entry.step for entry in ready), kept)


def standing(steps: Sequence[StepOutputs], work: Path) -> tuple[str, ...]:
    """The steps that need not be done again: their outputs stand, and so do those of all they need."""
    kept: dict[str, None] = {}
    while found := [
        step.name
        for step in steps
        if step.name not in kept and set(step.needs) <= kept.keys() and outputs_stand(step.outputs, work)
    ]:
        kept |= dict.fromkeys(found)
    return tuple(kept)


def outputs_stand(outputs: Any | None, work: Path) -> bool:
    """Whether what a step put out (JSON, None when it was not done) can still be used.

    Each file it names must be in the job's folder ``work``, as long as it was. What names no file, such as a plan with
    its links, is good as long as the folder is: that goes when a job fails. A published file never stands: those of
    failed jobs are swept.
    """
    files = list(_files(outputs))
    return (
        outputs is not None
        and work.is_dir()
        and all(path is not None and _size(work / path) == size for path, size in files)
    )


def _files(value: Any) -> Iterator[tuple[str | None, int]]:
    """The path (None for a published one) and size of every file in a handoff value."""
    if isinstance(value, list):
        for item in value:
            yield from _files(item)
    elif isinstance(value, dict):
        if "locator" in value or {"path", "size"} <= value.keys():
            yield value.get("path"), value["size"]
        for item in value.values():
            yield from _files(item)


def _size(path: Path) -> int:
    """Its length in bytes; -1 when it is no file."""
    try:
        return path.stat().st_size if path.is_file() else -1
    except OSError:
        return -1
