"""One step at a time through a real runner, with every way to end."""

import pytest
import structlog

from downloader import errors
from downloader.job import Entry, Progress
from downloader.states import Stage, Status
from downloader.vault import Vault
from stages import endings
from stages.contract import StepResult
from tests.stages.driving import PLAN


def run(house, function=lambda _step: None, stage="resolve", **kwargs):
    house.runner(function, **kwargs).run(house.deliver(stage), "w/0")


def test_a_step_is_committed_then_added_then_acknowledged(house):
    job_id = house.post()
    run(house)
    assert house.reached == ["read", "claimed", "ran", "committed", "acked"]
    assert house.broker.entries("resolve") == set()
    assert house.broker.entries("fetch") == {Entry("fetch", job_id, "fetch")}


def test_the_context_gives_a_stage_what_it_needs(house):
    seen = []
    job_id = house.post(authorization=Vault.from_settings(house.settings).seal("Bearer t0ken"))
    run(house, seen.append)
    (step,) = seen
    assert (step.job.id, step.name, step.epoch, step.attempt) == (job_id, "resolve", 1, 1)
    assert step.authorization == "Bearer t0ken"
    assert step.work.is_dir()


def test_a_whole_route_ends_the_job_and_leaves_no_work_folder(house):
    job_id = house.post()
    for stage in ("resolve", "fetch", "mux", "publish"):
        run(house, stage=stage)
    assert house.store.job(job_id).status is Status.DONE
    assert not (house.settings.jobs_dir / job_id).exists()


def test_a_finished_step_delivered_again_still_adds_its_successor(house):
    job_id = house.post()
    run(house)
    house.broker.settle(house.deliver("fetch"))  # the successor's entry is lost
    house.broker.add([Entry("resolve", job_id, "resolve")])
    run(house, lambda _step: pytest.fail("done work is not done again"))
    assert house.broker.entries("fetch") == {Entry("fetch", job_id, "fetch")}


def raising(error):
    def run(_step):
        raise error

    return run


def test_a_final_error_ends_the_job_with_code_and_sentence(house):
    job_id = house.post()
    run(house, raising(errors.NoStream("Nothing fits what was asked for.")))
    job = house.store.job(job_id)
    assert (job.status, job.error_code, job.error) == (Status.FAILED, "no_stream", "Nothing fits what was asked for.")
    assert not (house.settings.jobs_dir / job_id).exists()
    assert house.broker.entries("resolve") == set()


def test_how_far_a_job_came_is_known_after_it_failed(house):
    job_id = house.post()
    house.broker.publish({job_id: Progress(Stage.EXTRACT, 1.5, 0, 0)})
    run(house, raising(errors.NoStream("Nothing fits what was asked for.")))
    assert house.broker.snapshot(job_id).progress_percent == 1.5


def test_a_passing_error_is_tried_again_after_a_pause_then_ends_the_job(house):
    job_id = house.post()
    for tries in range(endings.MAX_RETRIES):
        run(house, raising(errors.UpstreamUnavailable("Away.")))
        step = house.step(job_id)
        assert (step["state"], step["retries"], step["crashes"]) == ("ready", tries + 1, 0)
        assert step["pause"] > 0
        make_due(house, job_id)
    run(house, raising(errors.UpstreamUnavailable("Away.")))
    assert house.store.job(job_id).error_code == "upstream_unavailable"


@pytest.mark.parametrize("kind", [errors.UpstreamUnavailable, errors.NoRoomYet])
@pytest.mark.parametrize(
    ("wish", "pause"), [(99_999_999.0, endings.LONGEST_WISH_SECONDS), (400.0, 400.0)], ids=["years", "minutes"]
)
def test_a_host_is_given_the_time_that_it_asks_for_within_reason(house, kind, wish, pause):
    job_id = house.post()
    run(house, raising(kind("Overloaded.", retry_after=wish)))
    assert pause - 60 < house.step(job_id)["pause"] <= pause


def test_a_bug_counts_as_a_crash_and_the_third_ends_the_job(house):
    job_id = house.post()
    for crash in range(endings.MAX_CRASHES):
        assert house.step(job_id)["crashes"] == crash
        run(house, raising(ZeroDivisionError()))
    job = house.store.job(job_id)
    assert (job.status, job.error_code) == (Status.FAILED, "poisoned")


def test_files_that_went_with_a_deleted_job_are_no_crash(house):
    def stage(step):
        house.store.cancel(step.job.id)
        house.store.delete(step.job.id)
        step.work.rmdir()
        (step.work / "track").open("rb")

    job_id = house.post()
    with structlog.testing.capture_logs() as said:
        run(house, stage)
    assert house.store.job(job_id) is None
    assert [line["end"] for line in said if line["event"] == "step"] == ["cancelled"]
    assert not [line for line in said if line["event"] == "step_crashed"]


def test_a_crashed_engine_ends_the_job_as_invalid_media(house):
    job_id = house.post()
    for _ in range(endings.MAX_CRASHES):
        run(house, raising(errors.EngineCrashed("The muxer died.")))
    assert house.store.job(job_id).error_code == "media_invalid"


def test_a_drain_hands_the_step_back_at_once_and_counts_nothing(house):
    job_id = house.post()
    run(house, raising(errors.Draining("Ending.")))
    step = house.step(job_id)
    assert (step["state"], step["retries"], step["crashes"]) == ("ready", 0, 0)
    assert house.broker.entries("resolve") == {Entry("resolve", job_id, "resolve")}


def test_no_room_yet_waits_without_counting(house):
    job_id = house.post()
    run(house, raising(errors.NoRoomYet("Others hold it.")))
    step = house.step(job_id)
    assert (step["state"], step["retries"], step["crashes"]) == ("ready", 0, 0)
    assert step["pause"] > 0


def test_a_cancel_is_seen_by_check_and_the_work_folder_goes(house):
    beats = house.beats()

    def stage(step):
        (step.work / "half").write_bytes(b"x")
        house.store.cancel(step.job.id)
        beats.run_once()
        beats.run_once()  # the first is a beat, the second a look: either notices
        step.check()

    job_id = house.post()
    run(house, stage, beats=beats)
    assert house.store.job(job_id).error_code == "cancelled"
    assert not (house.settings.jobs_dir / job_id).exists()
    assert house.broker.entries("resolve") == set()


def test_a_cancel_just_before_the_commit_wins(house):
    job_id = house.post()
    run(house, lambda step: house.store.cancel(step.job.id) and None)
    assert house.store.job(job_id).error_code == "cancelled"
    assert house.broker.entries("fetch") == set()


def test_a_lost_lease_leaves_the_folder_to_the_successor(house):
    def stage(step):
        (lapsed,) = house.store.lapsed("w")
        house.store.give_back(lapsed, crashes=1)
        house.clock.offset += house.settings.lease_seconds + 1
        step.check()

    job_id = house.post()
    run(house, stage)
    assert house.store.job(job_id).status is Status.RUNNING
    assert (house.settings.jobs_dir / job_id).exists()
    assert house.reached[-1] == "claimed"


def test_check_asks_postgres_once_the_lease_ran_out_and_goes_on_when_it_is_ours(house):
    def stage(step):
        house.clock.offset += house.settings.lease_seconds + 1
        step.check()

    job_id = house.post()
    run(house, stage)
    assert house.step(job_id)["state"] == "done"


def test_a_job_has_a_total_time_limit(house):
    def stage(step):
        house.clock.offset += house.settings.job_time_limit_seconds + 1
        step.check()

    job_id = house.post()
    run(house, stage)
    assert house.store.job(job_id).error_code == "timed_out"


def test_the_row_gets_what_the_step_found(house):
    job_id = house.post()
    run(house, lambda _step: StepResult(outputs=PLAN, title="A title", duration_ms=1500, warnings=("Mind.",)))
    job = house.store.job(job_id)
    assert (job.title, job.duration_ms, job.warnings) == ("A title", 1500, ("Mind.",))


def test_reservations_tell_never_from_not_yet(house):
    def stage(step):
        with pytest.raises(errors.InsufficientStorage):
            step.reserve(1 << 60)
        step.reserve(1000)

    run_for = house.post()
    run(house, stage)
    assert house.step(run_for)["state"] == "done"


def test_an_unknown_step_is_left_for_a_process_that_knows_it(house):
    house.broker.add([Entry("resolve", "j", "from-the-future")])
    run(house)
    assert house.reached == []
    assert [item.entry.step for item in house.broker.left_by("resolve", "w/0")] == ["from-the-future"]


def make_due(house, job_id):
    house.store.db.rows(
        "UPDATE downloader_steps SET ready_at = now() WHERE state = 'ready' AND job_id = %(id)s RETURNING 1",
        {"id": job_id},
    )
    house.broker.add([Entry("resolve", job_id, "resolve")])


@pytest.mark.parametrize("how", ["finish", "fail", "give_back"])
def test_work_that_cannot_be_committed_before_the_process_ends_is_left_as_it_is(house, monkeypatch, how):
    def away(*_args, **_kwargs):
        house.stop.set()
        raise errors.StoreUnavailable("Away.")

    def stage(step):
        (step.work / "whole").write_bytes(b"x")
        for name in ("finish", "fail", "give_back", "outcome"):
            monkeypatch.setattr(house.store, name, away)
        if how != "finish":
            raise errors.NoStream("Nothing fits.") if how == "fail" else errors.UpstreamUnavailable("Away.")

    job_id = house.post()
    run(house, stage)
    assert (house.settings.jobs_dir / job_id / "whole").exists()
    assert house.step(job_id)["state"] == "running"


def test_an_entry_that_cannot_be_claimed_before_the_process_ends_is_put_back(house, monkeypatch):
    def away(*_args, **_kwargs):
        house.stop.set()
        raise errors.StoreUnavailable("Away.")

    monkeypatch.setattr(house.store, "claim", away)
    job_id = house.post()
    run(house)
    assert house.deliver(consumer="heir/0").entry == Entry("resolve", job_id, "resolve")


@pytest.mark.parametrize(("step", "waits"), [("resolve", False), ("publish", True)])
def test_while_postgres_is_away_only_what_clients_would_see_waits(house, monkeypatch, step, waits):
    beats, lost = house.beats(), house.store.lost
    away = iter([True] * 60)

    def unavailable(*args):
        if next(away, False):
            raise errors.StoreUnavailable("Away.")
        return lost(*args)

    def stage(context):
        monkeypatch.setattr(house.store, "beat", unavailable)
        monkeypatch.setattr(house.store, "here", unavailable)
        monkeypatch.setattr(house.store, "lost", unavailable)
        for _ in range(int(house.settings.lease_seconds) + 1):
            house.clock.offset += 1.0
            beats.run_once()
        before = house.clock.offset
        context.check()
        assert (house.clock.offset > before) == waits

    house.post()
    for name in ("resolve", "fetch", "mux", "publish"):
        run(house, stage if name == step else lambda _step: None, stage=name, beats=beats if name == step else None)
        if name == step:
            break
    assert house.reached[-1] == "acked"
