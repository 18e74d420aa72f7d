"""What stages do: claim, beat, finish, fail, give back. Every write is guarded by the claim's epoch."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from downloader.handoff import Achieved
from downloader.job import Entry, Job
from downloader.route import RouteStep
from downloader.states import StepState
from downloader.store import rows
from downloader.store.database import Database
from downloader.store.statements import named

_SQL = named("steps.sql")


@dataclass(frozen=True, slots=True)
class Claim:
    """A step that is ours until its epoch moves. ``inputs`` are the outputs of what it needs, by step name.

    ``attempts`` counts this one; ``crashes`` and ``retries`` are how earlier ones ended. ``waited`` in seconds.
    """

    job: Job
    name: str
    stage: str
    epoch: int
    attempts: int
    crashes: int
    retries: int
    inputs: Mapping[str, Any]
    waited: float
    sealed_authorization: bytes | None

    @property
    def key(self) -> tuple[str, str, int]:
        """What identifies the claim."""
        return self.job.id, self.name, self.epoch


@dataclass(frozen=True, slots=True)
class Lapsed:
    """A running step whose worker is dead or silent."""

    entry: Entry
    epoch: int
    crashes: int
    worker: str


@dataclass(frozen=True, slots=True)
class Finished:
    """``ended``: the job is done with this step. ``ready``: entries to add."""

    ended: bool
    ready: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step stands: its state and epoch, whether its job was ended, and the job's ready steps."""

    state: StepState
    epoch: int
    cancelled: bool
    unfinished: bool
    ready: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Reserved:
    """The answer to a wish for disk: whether the claim ``holds``, the bytes ``fits`` and nobody waits before it.

    ``others``: bytes that are still to come of what other jobs have set aside.
    """

    holds: bool
    fits: bool
    behind: bool
    others: int

    @property
    def made(self) -> bool:
        """Whether the bytes are set aside."""
        return self.holds and self.fits and not self.behind


class Steps:
    """Steps as workers see them, over ``db``."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def claim(self, entry: Entry, worker: str, lease: float, route: RouteStep) -> Claim | None:
        """Claim a ready step for ``worker`` (one per slot) for ``lease`` seconds; None when it is not to be had."""
        values = {
            "job_id": entry.job_id,
            "name": entry.step,
            "stage": entry.stage,
            "worker": worker,
            "lease": lease,
            "public": route.public,
        }
        for row in self.db.rows(_SQL["claim"], values):
            sealed = row["sealed_authorization"]
            return Claim(
                job=rows.job(row),
                name=entry.step,
                stage=entry.stage,
                epoch=row["epoch"],
                attempts=row["attempts"],
                crashes=row["crashes"],
                retries=row["retries"],
                inputs=row["inputs"] or {},
                waited=float(row["waited"]),
                sealed_authorization=None if sealed is None else bytes(sealed),
            )
        return None

    def finish(self, claim: Claim, result: Achieved, *, timing: str, percent: float) -> Finished | None:
        """Commit a step's result; None when the claim holds no more. May be called again after a lost answer."""
        artifact = result.artifact
        values = {
            **_key(claim),
            "outputs": rows.as_json(result.outputs),
            "timing": timing,
            "percent": percent,
            "title": rows.as_text(result.title),
            "duration_ms": result.duration_ms,
            "resolved": None if result.resolved is None else rows.as_json(result.resolved.told()),
            "warnings": rows.as_json(result.warnings),
            "sidecars": rows.as_json(result.sidecars) if result.sidecars else None,
            "total_bytes": result.total_bytes,
            "artifact": rows.as_text(artifact.locator) if artifact else None,
            "storage": artifact.storage if artifact else None,
            "artifact_name": rows.as_text(artifact.name) if artifact else None,
            "artifact_size": artifact.size if artifact else None,
            "artifact_type": artifact.content_type if artifact else None,
            "artifact_digest": artifact.digest if artifact else None,
            "artifact_expires_at": artifact.expires_at if artifact else None,
        }
        found = self.db.rows(_SQL["finish"], values)
        if found:
            ready = tuple(Entry(row["stage"], claim.job.id, row["name"]) for row in found if row["name"])
            return Finished(found[0]["ended"], ready)
        return self._finished_before(claim)

    def _finished_before(self, claim: Claim) -> Finished | None:
        """The answer that a lost connection swallowed, if the commit went through."""
        outcome = self.outcome(Entry(claim.stage, claim.job.id, claim.name))
        if outcome and outcome.state is StepState.DONE and outcome.epoch == claim.epoch:
            return Finished(not outcome.unfinished, outcome.ready)
        return None

    def outcome(self, entry: Entry) -> Outcome | None:
        """How the step stands, or None when it does not exist (any more)."""
        found = self.db.rows(_SQL["outcome"], {"job_id": entry.job_id, "name": entry.step})
        if not found:
            return None
        first = found[0]
        return Outcome(
            state=StepState(first["state"]),
            epoch=first["epoch"],
            cancelled=first["error_code"] == "cancelled",
            unfinished=first["status"] in ("queued", "running"),
            ready=tuple(Entry(row["stage"], entry.job_id, row["name"]) for row in found if row["name"]),
        )

    def fail(
        self, claim: Claim | Lapsed, code: str, message: str, *, crashes: int = 0, expired_only: bool = False
    ) -> bool:
        """End the job with this step; False when the claim does not hold any more."""
        values = {
            **_key(claim),
            "crashes": crashes,
            "error": rows.as_text(message),
            "error_code": code,
            "expired_only": expired_only,
        }
        return bool(self.db.rows(_SQL["fail"], values))

    def give_back(
        self,
        claim: Claim | Lapsed,
        *,
        delay: float = 0.0,
        crashes: int = 0,
        retries: int = 0,
        code: str | None = None,
        message: str | None = None,
        expired_only: bool = False,
    ) -> bool:
        """Make the step ready again after ``delay`` seconds; False when the claim does not hold any more."""
        values = {
            **_key(claim),
            "delay": delay,
            "crashes": crashes,
            "retries": retries,
            "error": rows.as_text(message),
            "error_code": code,
            "expired_only": expired_only,
        }
        return bool(self.db.rows(_SQL["give_back"], values))

    def beat(self, claims: Collection[Claim], lease: float) -> set[tuple[str, str, int]]:
        """Lengthen the leases; the keys of the claims that still hold."""
        found = self.db.rows(_SQL["beat"], {**_keys(claims), "lease": lease}) if claims else []
        return {(row["job_id"], row["name"], row["epoch"]) for row in found}

    def lost(self, claims: Collection[Claim]) -> dict[tuple[str, str, int], bool]:
        """The claims that hold no longer, by key; True where a client cancelled the job."""
        found = self.db.rows(_SQL["held"], _keys(claims)) if claims else []
        return {
            (row["job_id"], row["name"], row["epoch"]): row["error_code"] == "cancelled"
            for row in found
            if not row["holds"]
        }

    def here(self, worker: str, stage: str, slots: int) -> float:
        """Say that a stage process lives; the seconds since it did so before, 0 where nothing is known of that."""
        found = self.db.rows(_SQL["here"], {"id": worker, "stage": stage, "slots": slots})
        return float(found[0]["silent"]) if found else 0.0

    def leave(self, worker: str) -> None:
        """Say that it ends."""
        self.db.rows(_SQL["leave"], {"id": worker})

    def workers(self, age: float = 15.0) -> dict[str, int]:
        """Live slots per stage: those heard of within ``age`` seconds."""
        return {row["stage"]: row["slots"] for row in self.db.rows(_SQL["workers"], {"age": age})}

    def reserve(
        self, claim: Claim, volume: str, size: int, *, left: int, written: Mapping[str, int], patience: float
    ) -> Reserved:
        """Set ``size`` bytes aside on ``volume`` for the claim's job, in place of what it held.

        ``left``: free bytes, but those that must stay so. ``written``: bytes that lie in jobs' folders already, by job;
        one that is not named has none. Nobody gets in before one that has waited longer, and for ``patience`` seconds.
        """
        values = {
            **_key(claim),
            "volume": volume,
            "bytes": size,
            "to_come": max(0, size - written.get(claim.job.id, 0)),
            "left": left,
            "patience": patience,
            "job_ids": list(written),
            "written": list(written.values()),
        }
        return Reserved(**self.db.rows(_SQL["reserve"], values)[0])

    def reserved(self, volume: str) -> dict[str, int]:
        """Bytes that unfinished jobs have set aside on ``volume``, by job: all that their folders will come to hold."""
        return {row["job_id"]: row["bytes"] for row in self.db.rows(_SQL["reserved"], {"volume": volume})}


def _key(claim: Claim | Lapsed) -> dict[str, Any]:
    if isinstance(claim, Claim):
        return {"job_id": claim.job.id, "name": claim.name, "epoch": claim.epoch}
    return {"job_id": claim.entry.job_id, "name": claim.entry.step, "epoch": claim.epoch}


def _keys(claims: Collection[Claim]) -> dict[str, Any]:
    return {
        "job_ids": [claim.job.id for claim in claims],
        "names": [claim.name for claim in claims],
        "epochs": [claim.epoch for claim in claims],
    }
