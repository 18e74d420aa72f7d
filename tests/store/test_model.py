"""A model of claim, lease, epoch, cancel and completion beside the real SQL: no work is lost, none is done twice.

Hypothesis plays workers that claim, finish, crash, freeze and wake late, clients that post and cancel, and the janitor,
in any order, on a real Postgres; the model below says what must come of it.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from downloader.job import Entry
from downloader.route import ROUTE
from downloader.states import Status
from downloader.store import NotCancellable, Store
from stages import endings, recovery
from tests.stages.driving import LEASE, claim, finish
from tests.store.conftest import new

WORKERS = ("a/0", "b/0", "c/0")


@dataclass
class Modelled:
    """What must be true of one job: its status, who holds each step (by epoch), and which steps are done."""

    status: str = "unfinished"
    holders: dict[str, int] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    crashes: dict[str, int] = field(default_factory=dict)

    def ready(self) -> set[str]:
        if self.status != "unfinished":
            return set()
        return {
            name
            for name, step in ROUTE.items()
            if name not in self.done and name not in self.holders and set(step.needs) <= self.done
        }


class NoBroker:
    """Redis is a hint: the model goes without."""

    def add(self, entries):
        pass

    def announce(self, job_id):
        pass

    def fence(self, entry, epoch):
        pass


class Pipeline(RuleBasedStateMachine):
    store: Store

    jobs = Bundle("jobs")
    claims = Bundle("claims")

    def __init__(self):
        super().__init__()
        self.store.db.rows("DELETE FROM downloader_jobs")
        self.model: dict[str, Modelled] = {}

    @rule(target=jobs, key=st.integers(0, 1))
    def post(self, key):
        posted = self.store.post(new(f"k{key}"), limit=1000)
        assert posted.created == (posted.id not in self.model)
        known = self.model.setdefault(posted.id, Modelled())
        assert known.status == "unfinished", "nothing here leaves an artifact to be cached"
        return posted.id

    @rule(target=claims, job_id=jobs, worker=st.sampled_from(WORKERS))
    def claim(self, job_id, worker):
        """The next step that is to be had."""
        names = sorted(self.model[job_id].ready())
        return self._claim(job_id, names[0], worker) if names else multiple()

    @rule(target=claims, job_id=jobs, name=st.sampled_from(list(ROUTE)), worker=st.sampled_from(WORKERS))
    def claim_any(self, job_id, name, worker):
        return self._claim(job_id, name, worker)

    def _claim(self, job_id, name, worker):
        known = self.model[job_id]
        before = self.store.outcome(Entry(ROUTE[name].stage, job_id, name)).epoch
        held = claim(self.store, job_id, name, worker=worker)
        if held is None:
            assert name not in known.ready()
            return multiple()
        # What is not ready can only be had by the worker that holds it: the older claim is stale then.
        assert name in known.ready() or name in known.holders
        assert held.epoch == before + 1
        known.holders[name] = held.epoch
        return held

    def _holds(self, held):
        known = self.model[held.job.id]
        return known.status == "unfinished" and known.holders.get(held.name) == held.epoch

    @rule(held=claims)
    def finish(self, held):
        """Finish, also late, also twice: only the holder's commit counts, and asking again finds it."""
        known = self.model[held.job.id]
        holds = self._holds(held)
        mine = held.name in known.done and self._epoch(held) == held.epoch
        finished = finish(self.store, held)
        assert (finished is not None) == (holds or mine)
        if holds:
            del known.holders[held.name]
            known.done.add(held.name)
            assert {entry.step for entry in finished.ready} == {n for n in known.ready() if held.name in ROUTE[n].needs}
            if known.done == set(ROUTE):
                known.status = "done"
            assert finished.ended == (known.status == "done")

    @rule(held=consumes(claims))
    def fail(self, held):
        holds = self._holds(held)
        assert self.store.fail(held, "no_stream", "Nothing fits.") == holds
        if holds:
            self._end(held.job.id, "failed")

    @rule(held=claims)
    def hand_back(self, held):
        holds = self._holds(held)
        assert self.store.give_back(held) == holds
        if holds:
            del self.model[held.job.id].holders[held.name]

    @rule(held=claims)
    def beat(self, held):
        assert (held.key in self.store.beat([held], LEASE)) == self._holds(held)
        lost = self.store.lost([held])
        assert (held.key in lost) == (not self._holds(held))

    @rule(job_id=jobs)
    def cancel(self, job_id):
        known = self.model[job_id]
        if known.status == "unfinished":
            assert self.store.cancel(job_id).error_code == "cancelled"
            self._end(job_id, "cancelled")
        else:
            with pytest.raises(NotCancellable):
                self.store.cancel(job_id)

    @rule(held=claims)
    def worker_dies(self, held):
        """The lease runs out and the janitor comes by."""
        if not self._holds(held):
            return
        known = self.model[held.job.id]
        self.store.db.rows(
            "UPDATE downloader_steps SET lease_until = now() - interval '1 second'"
            " WHERE job_id = %(id)s AND name = %(name)s",
            {"id": held.job.id, "name": held.name},
        )
        recovery.take_from_the_dead(self.store, NoBroker(), self.store.lapsed(), expired_only=True)
        crashes = known.crashes[held.name] = known.crashes.get(held.name, 0) + 1
        if crashes >= endings.MAX_CRASHES:
            self._end(held.job.id, "failed")
        else:
            del known.holders[held.name]

    def _end(self, job_id, status):
        known = self.model[job_id]
        known.status = status
        known.holders.clear()

    def _epoch(self, held):
        return self.store.outcome(Entry(held.stage, held.job.id, held.name)).epoch

    @invariant()
    def the_database_says_what_the_model_says(self):
        rows = self.store.db.rows("SELECT job_id, name, state, epoch FROM downloader_steps")
        for job_id, known in self.model.items():
            job = self.store.job(job_id)
            wanted = {"unfinished": (Status.QUEUED, Status.RUNNING), "done": (Status.DONE,)}
            assert job.status in wanted.get(known.status, (Status.FAILED,))
            steps = {row["name"]: row for row in rows if row["job_id"] == job_id}
            assert {name for name, row in steps.items() if row["state"] == "ready"} == known.ready()
            assert {n: r["epoch"] for n, r in steps.items() if r["state"] == "running"} == known.holders
            if known.status == "unfinished":
                assert known.ready() or known.holders, "an unfinished job always has something to go on with"


def test_no_work_is_lost_and_none_is_done_twice(store):
    class Here(Pipeline):
        pass

    Here.store = store
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
