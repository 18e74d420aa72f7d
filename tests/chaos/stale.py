"""A worker that is stopped right before each of its writes and does them all when it wakes: what test_fencing runs.

``python -m tests.chaos.stale`` reads ``{path: job id}`` as JSON from standard input, claims each job's step, brings
every path to its brink, stops itself with SIGSTOP and, once it is woken, lets all of them go on. It then prints what
each came to, as JSON.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from downloader import config
from downloader.broker import Broker, Delivery
from downloader.clock import SystemClock
from downloader.errors import Draining, EngineCrashed, NoStream, UpstreamUnavailable
from downloader.fetch.trackfile import TrackFile
from downloader.job import Entry, Progress
from downloader.states import Stage
from downloader.store import Callback, Claim, Store
from downloader.vault import Vault
from stages.beats import Beats
from stages.contract import StepContext, StepResult
from stages.feed import Feed
from stages.identity import Worker
from stages.publish import PublishStage
from stages.runner import Parts, Runner
from tests.stages.driving import PLAN, claim, finish

CALLBACKS = ("callback_sent", "callback_put_off", "callback_dropped")
STORE = ("beat", "finish", "fail", "give_back", "reserve", "publish_progress")
ERRORS = {
    "stage_fails": NoStream("Nothing fits."),
    "stage_retries": UpstreamUnavailable("Away."),
    "stage_drains": Draining("Ending."),
    "stage_crashes": ZeroDivisionError(),
    "engine_crashes": EngineCrashed("The muxer died."),
}
PUBLISH = ("before_check", "before_link")
RUNNER = (
    *ERRORS,
    "answered_late",
    "claimed",
    "stage_returns",
    "stage_reserves",
    "stage_writes_a_track",
    "feed",
    *PUBLISH,
)
PATHS = (*CALLBACKS, *STORE, *RUNNER)
STOPPED_AFTER_SECONDS = 30


def step_of(path: str) -> str:
    """The step that the path's worker has claimed."""
    return "publish" if path in PUBLISH else "fetch"


class Brink:
    """Where a path waits, until the process has been stopped and woken."""

    def __init__(self) -> None:
        self._reached = threading.Semaphore(0)
        self._awake = threading.Event()

    def wait(self) -> None:
        self._reached.release()
        self._awake.wait(STOPPED_AFTER_SECONDS)

    def all_reached(self, count: int) -> None:
        for _ in range(count):
            if not self._reached.acquire(timeout=STOPPED_AFTER_SECONDS):
                raise TimeoutError

    def wake(self) -> None:
        self._awake.set()


class LateStore(Store):
    """The answer to a claim of ``late`` finds its reader only when that has woken."""

    def __init__(self, dsn: str, late: str, brink: Brink) -> None:
        super().__init__(dsn, max_connections=len(PATHS) + 2)
        self._late = late
        self._brink = brink

    def claim(self, entry: Entry, *arguments: Any) -> Claim | None:
        held = super().claim(entry, *arguments)
        if entry.job_id == self._late:
            self._brink.wait()
        return held


class LateBroker(Broker):
    """Stopped between looking at what is held and publishing it."""

    brink: Brink

    def publish(self, progress: Mapping[str, Progress]) -> None:
        self.brink.wait()
        super().publish(progress)


class Acting:
    """A stage that does what its job's path says."""

    def __init__(self, paths: Mapping[str, str], brink: Brink, publish: PublishStage) -> None:
        self._paths = paths
        self._brink = brink
        self._publish = publish
        self.ran: set[str] = set()

    def run(self, step: StepContext) -> StepResult:
        path = self._paths[step.job.id]
        self.ran.add(path)
        if path in PUBLISH:
            return self._publish.run(step)
        if path == "stage_writes_a_track":
            return self._write(step)
        if path == "feed":
            step.progress(60, 100)
        if path not in ("claimed", "answered_late"):
            self._brink.wait()
        if path in ERRORS:
            raise ERRORS[path]
        if path == "stage_reserves":
            step.reserve(123)
        return StepResult(outputs=PLAN, title="Stale")

    def _write(self, step: StepContext) -> StepResult:
        with_threads = _AtOnce()
        track = TrackFile(step.work / "tracks", "video", step.epoch, with_threads)
        os.pwrite(track.fd, b"before", 0)
        self._brink.wait()
        step.check()
        raise AssertionError("a stale worker went on to write")

    def close(self) -> None:
        pass


class _AtOnce:
    """An executor without threads."""

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Any:
        raise AssertionError("nothing is forced to the disk here")


def runner_of(paths: Mapping[str, str], store: Store, brink: Brink) -> tuple[Runner, Beats, Parts, Acting]:
    settings = config.load()
    clock = SystemClock()
    by_job = {job_id: path for path, job_id in paths.items()}

    def boundary(point: str, held: Claim | None) -> None:
        if held and point == by_job[held.job.id]:
            brink.wait()

    broker = LateBroker(settings.redis_location, settings.redis_queue_key)
    broker.brink = brink
    parts = Parts(
        settings=settings,
        store=store,
        broker=broker,
        vault=Vault.from_settings(settings),
        clock=clock,
        stop=threading.Event(),
        boundary=boundary,
    )
    beats = Beats(store, settings, clock, Worker("fetch", "stale", len(RUNNER)))
    acting = Acting(by_job, brink, PublishStage(settings))
    return Runner(acting, parts, beats), beats, parts, acting


def watch_publish(paths: Mapping[str, str], beats: Beats, brink: Brink) -> None:
    """Stop one publish before its last look at the claim, and the other between that and the link."""
    link, check = os.link, beats.check

    def late_link(source: Any, target: Any) -> None:
        if paths["before_link"] in str(target):
            brink.wait()
        link(source, target)

    def late_check(held: Any) -> None:
        # The runner's own look comes first: the work folder is there after it.
        if held.claim.job.id == paths["before_check"] and "before_check" in started:
            brink.wait()
        if held.claim.job.id == paths["before_check"]:
            started.add("before_check")
        check(held)

    started: set[str] = set()
    os.link = late_link  # type: ignore[assignment]
    beats.check = late_check  # type: ignore[method-assign]


def store_writes(
    store: Store, broker: Broker, held: Mapping[str, Claim], callbacks: Mapping[str, Callback]
) -> dict[str, Any]:
    """Each write of the store and the broker with a stale claim; what it returned."""
    progress = Progress(Stage.DOWNLOAD, 77.0, 7, 10, step="fetch", epoch=held["publish_progress"].epoch)
    broker.publish({held["publish_progress"].job.id: progress})
    return {
        "beat": bool(store.beat([held["beat"]], 600)),
        "finish": finish(store, held["finish"], title="Stale") is not None,
        "fail": store.fail(held["fail"], "no_stream", "Stale.", crashes=1),
        "give_back": store.give_back(held["give_back"], crashes=1, retries=1),
        "reserve": store.reserve(held["reserve"], "stale", 1 << 20, left=1 << 40, written={}, patience=0).made,
        "callback_sent": store.callback_sent(callbacks["callback_sent"]),
        "callback_put_off": store.callback_put_off(callbacks["callback_put_off"], "Stale.", 5),
        "callback_dropped": store.callback_dropped(callbacks["callback_dropped"], "Stale."),
    }


def main() -> None:
    paths: dict[str, str] = json.loads(sys.stdin.readline())
    settings, brink = config.load(), Brink()
    store = LateStore(settings.database_location, paths["answered_late"], brink)
    plain = Broker(settings.redis_location, settings.redis_queue_key)
    held = {path: claim(store, paths[path], "fetch", f"stale/{path}", settings.lease_seconds) for path in STORE}
    claimed = [store.claim_callback(settings.lease_seconds, 10) for _ in CALLBACKS]
    by_job = {found.job.id: found for found in claimed if found}
    callbacks = {path: by_job[paths[path]] for path in CALLBACKS}
    runner, beats, parts, acting = runner_of(paths, store, brink)
    watch_publish(paths, beats, brink)
    over = threading.Event()
    threading.Thread(target=beats.run, args=(over,), daemon=True).start()
    entries = {path: Entry(step_of(path), paths[path], step_of(path)) for path in RUNNER}
    working = [
        threading.Thread(target=runner.run, args=(Delivery(entry), f"stale/{path}")) for path, entry in entries.items()
    ]
    for thread in working:
        thread.start()
    brink.all_reached(len(working))
    feeding = threading.Thread(target=Feed(beats, parts.broker, parts.clock).run_once)
    feeding.start()
    brink.all_reached(1)
    os.kill(os.getpid(), signal.SIGSTOP)
    brink.wake()
    results = store_writes(store, plain, held, callbacks)
    for thread in (*working, feeding):
        thread.join(STOPPED_AFTER_SECONDS)
    over.set()
    print(json.dumps({"returned": results, "ran": sorted(acting.ran)}), flush=True)


if __name__ == "__main__":
    main()
