"""Every figure of /metrics: its name, its labels and where it is read. docs/operating.md lists them; a test compares.

All are gauges: rows can be deleted, so no count of them only rises. No label holds what a client chose.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from downloader import __version__, errors
from downloader.route import JANITOR
from downloader.states import Status, StepState
from web.buildnote import build
from web.reading import Reading

Values = Mapping[tuple[str, ...], float]

OTHER: Final = "other"
"""The code of failed jobs whose own is none of ours: an older service ran them."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """One figure. ``values`` by the values of ``labels``; empty when what it is read from is away."""

    name: str
    says: str
    labels: tuple[str, ...]
    values: Callable[[Reading], Values]


def _build(_reading: Reading) -> Values:
    return {(__version__, build().revision): 1}


def _up(reading: Reading) -> Values:
    return {(part,): float(up) for part, up in reading.up.items()}


def _jobs(reading: Reading) -> Values:
    census = reading.census
    return {(status.value,): census.jobs.get(status, 0) for status in Status} if census else {}


def _failed(reading: Reading) -> Values:
    if reading.census is None:
        return {}
    found = dict.fromkeys([*errors.endings(), OTHER], 0)
    for code, count in reading.census.failed.items():
        found[code if code in found else OTHER] += count
    return {(code,): count for code, count in found.items()}


def _steps(reading: Reading) -> Values:
    if reading.census is None or reading.queues is None:
        return {}
    found: dict[tuple[str, ...], float] = {}
    for stage, queue in reading.queues.stages.items():
        found[stage, StepState.WAITING.value] = reading.census.waiting.get(stage, 0)
        found[stage, StepState.READY.value] = queue.ready
        found[stage, StepState.RUNNING.value] = queue.running
    return found


def _oldest(reading: Reading) -> Values:
    queues = reading.queues
    return {(stage,): queue.oldest for stage, queue in queues.stages.items()} if queues else {}


def _slots(reading: Reading) -> Values:
    queues = reading.queues
    if queues is None:
        return {}
    slots = {stage: queue.slots for stage, queue in queues.stages.items()} | {JANITOR: queues.janitors}
    return {(pool,): count for pool, count in slots.items()}


def _one(read: Callable[[Reading], float | None]) -> Callable[[Reading], Values]:
    """The values of a figure without labels, from what ``read`` returns; None is not known."""

    def values(reading: Reading) -> Values:
        found = read(reading)
        return {} if found is None else {(): found}

    return values


GAUGES: Final = (
    Gauge("downloader_build_info", "1; the labels say what runs", ("version", "revision"), _build),
    Gauge("downloader_part_up", "1 when the part answered within 2.5 s, else 0", ("part",), _up),
    Gauge("downloader_jobs", "Jobs that have a row", ("status",), _jobs),
    Gauge("downloader_jobs_failed", "Failed jobs that have a row, by their errorCode", ("error_code",), _failed),
    Gauge("downloader_jobs_limit", "Unfinished jobs that may be", (), _one(lambda r: r.limit)),
    Gauge("downloader_steps", "Steps that have not ended", ("stage", "state"), _steps),
    Gauge("downloader_oldest_ready_seconds", "How long the oldest ready step has waited", ("stage",), _oldest),
    Gauge("downloader_slots", "Slots of workers that live; of the janitor, janitors", ("stage",), _slots),
    Gauge(
        "downloader_reserved_bytes",
        "Disk set aside for unfinished jobs, written or still to come, on all volumes",
        (),
        _one(lambda r: r.census.reserved if r.census else None),
    ),
    Gauge(
        "downloader_callbacks_due",
        "Callbacks still to be made",
        (),
        _one(lambda r: r.census.callbacks if r.census else None),
    ),
    Gauge(
        "downloader_disk_size_bytes",
        "Size of the volume of DATA_DIR",
        (),
        _one(lambda r: r.disk.space.total if r.disk else None),
    ),
    Gauge(
        "downloader_disk_free_bytes",
        "Free bytes of that volume",
        (),
        _one(lambda r: r.disk.space.free if r.disk else None),
    ),
    Gauge(
        "downloader_disk_required_bytes",
        "Bytes that must stay free there for a post to be taken",
        (),
        _one(lambda r: r.disk.required if r.disk else None),
    ),
)
"""Every figure, in the order of the page."""
