"""The states of jobs and steps, and the one table of allowed transitions.

The same transitions are held by CHECKs and guarded UPDATEs in Postgres (store/migrations); a test compares both.
"""

from enum import StrEnum


class Status(StrEnum):
    """A job's lifecycle as clients see it. ``failed`` with code ``cancelled`` is a cancellation."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Stage(StrEnum):
    """What a job is busy with, as clients see it; of a failed job the last one."""

    QUEUED = "queued"
    EXTRACT = "extract"
    DOWNLOAD = "download"
    MUX = "mux"
    DONE = "done"


class StepState(StrEnum):
    """A step's life. ``waiting`` until all it needs is done; ``ready`` may be claimed; the rest is the end."""

    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


JOB_TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.FAILED}),
    Status.RUNNING: frozenset({Status.DONE, Status.FAILED}),
    Status.DONE: frozenset(),
    # A retry by the operator runs a failed job again.
    Status.FAILED: frozenset({Status.QUEUED}),
}

STEP_TRANSITIONS: dict[StepState, frozenset[StepState]] = {
    StepState.WAITING: frozenset({StepState.READY, StepState.FAILED, StepState.CANCELLED}),
    StepState.READY: frozenset({StepState.RUNNING, StepState.FAILED, StepState.CANCELLED}),
    # Back to ready: handed back at a drain, to be tried again, or taken from the dead.
    StepState.RUNNING: frozenset({StepState.DONE, StepState.READY, StepState.FAILED, StepState.CANCELLED}),
    # Outputs that no longer stand are made again; so are ended steps at an operator's retry.
    StepState.DONE: frozenset({StepState.READY, StepState.WAITING}),
    StepState.FAILED: frozenset({StepState.READY, StepState.WAITING}),
    StepState.CANCELLED: frozenset({StepState.READY, StepState.WAITING}),
}
