"""A worker that was stopped past its lease wakes, and does nothing: shown for each way in which it could write."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from downloader.broker import Broker
from downloader.handoff import Muxed, MuxedFile
from downloader.job import Options, Progress
from downloader.states import Stage
from downloader.store import NewJob, Store
from stages import recovery
from stages.contract import StepResult
from tests.chaos.stale import CALLBACKS, PATHS, PUBLISH, RUNNER, STORE, step_of
from tests.service import ROOT
from tests.stages.driving import claim, finish
from tests.waiting import until

LEASE = 1.0
AFTERWARDS = ("taken", "passed", "ended")
TABLES = (
    "downloader_jobs j WHERE j.id",
    "downloader_steps j WHERE j.job_id",
    "downloader_reservations j WHERE j.job_id",
)


@dataclass
class Woken:
    """What there was of each job before the sleeper woke, and after."""

    jobs: dict[str, str]
    said: dict = field(default_factory=dict)
    before: dict = field(default_factory=dict)
    after: dict = field(default_factory=dict)
    live: list = field(default_factory=list)


class Yard:
    """A database, a Redis and a folder in which others go on while a worker is stopped."""

    def __init__(self, url, redis_url, prefix, folder):
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "DATABASE_URL": url,
            "REDIS_URL": redis_url,
            "REDIS_QUEUE_KEY": prefix,
            "DATA_DIR": str(folder),
            "LEASE_SECONDS": str(LEASE),
            "STORAGE_MIN_FREE_BYTES": "0",
            "STORAGE_MIN_FREE_PERCENT": "0",
        }
        self.store, self.broker = Store(url), Broker(redis_url, prefix)
        self.raw = redis.Redis.from_url(redis_url, decode_responses=True)
        self.prefix, self.folder = prefix, folder

    def close(self):
        self.store.close()
        self.broker.close()
        self.raw.close()

    def post(self, path):
        """A job whose step of this path is ready; of a callback's path one that has ended."""
        options = Options(callback_url="http://127.0.0.1/hook" if path in CALLBACKS else None)
        job_id = self.store.post(NewJob("https://e.test/v", options, path), limit=1000).id
        if path in CALLBACKS:
            self.store.cancel(job_id)
            return job_id
        finish(self.store, claim(self.store, job_id))
        work = self.folder / "jobs" / job_id
        work.mkdir(parents=True)
        if path in PUBLISH:
            finish(self.store, claim(self.store, job_id, "fetch"))
            (work / "mux-1.mp4").write_bytes(b"the file")
            made = MuxedFile(path="mux-1.mp4", name="A.mp4", size=8, content_type="video/mp4")
            held = claim(self.store, job_id, "mux")
            self.store.finish(held, StepResult(outputs=Muxed(main=made)), timing="", percent=90)
        return job_id

    def take_over(self, path, job_id, afterwards):
        """What others do with the job while its worker is stopped."""
        if path in CALLBACKS:
            return
        step = step_of(path)
        held = claim(self.store, job_id, step, "heir/0")
        assert held.epoch == 2
        self.store.reserve(held, "volume", 7, left=1 << 40, written={}, patience=0)
        self.broker.publish({job_id: Progress(Stage.DOWNLOAD, 12.0, 1, 10, step=step, epoch=2)})
        work = self.folder / "jobs" / job_id
        (work / "heir.media").write_bytes(b"the heir's")
        if afterwards == "passed":
            if path in PUBLISH:
                file = self.folder / "artifacts" / job_id / "A.mp4"
                file.parent.mkdir(parents=True, exist_ok=True)
                os.link(work / "mux-1.mp4", file)
            finish(self.store, held)
        elif afterwards == "ended":
            self.store.cancel(job_id)

    def state(self, job_id):
        """Every row, file and key of a job."""
        rows = {
            table: self.store.db.rows(f"SELECT * FROM {table} = %(id)s ORDER BY 1, 2", {"id": job_id})
            for table in TABLES
        }
        rows["callbacks"] = self.store.db.rows(
            "SELECT * FROM downloader_callbacks WHERE job_id = %(id)s", {"id": job_id}
        )
        files = {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            for kind in ("jobs", "artifacts")
            for path in sorted((self.folder / kind / job_id).rglob("*"))
        }
        keys = {key: self.raw.type(key) for key in self.raw.keys(f"{self.prefix}:*{job_id}")}
        return {"rows": rows, "files": files, "keys": keys, "snapshot": self.broker.snapshot(job_id)}


@pytest.fixture(scope="module", params=AFTERWARDS)
def woken(request, tmp_path_factory, postgres_server, migrated_template, valkey_server):
    """One worker, stopped at the brink of every write at once; its steps were taken over before it woke."""
    from tests.conftest import database, execute

    afterwards, name = request.param, f"fencing_{request.param}"
    execute(postgres_server.dsn, "CREATE DATABASE {} TEMPLATE {}", name, migrated_template)
    yard = Yard(
        database(postgres_server.dsn, name), valkey_server.url, name, tmp_path_factory.mktemp("fencing") / afterwards
    )
    try:
        yield run(yard, afterwards)
    finally:
        yard.close()
        execute(postgres_server.dsn, "DROP DATABASE {} WITH (FORCE)", name)


def run(yard, afterwards):
    found = Woken({path: yard.post(path) for path in PATHS})
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.stale"],
        env=yard.environment,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        process.stdin.write(json.dumps(found.jobs) + "\n")
        process.stdin.flush()
        until(lambda: stopped(process.pid), 30)
        until(lambda: len(yard.store.lapsed()) == len(STORE) + len(RUNNER), 10)
        recovery.take_from_the_dead(yard.store, yard.broker, yard.store.lapsed(), expired_only=True)
        take_callbacks(yard)
        for path, job_id in found.jobs.items():
            yard.take_over(path, job_id, afterwards)
        found.before = {path: yard.state(job_id) for path, job_id in found.jobs.items()}
        channel = yard.raw.pubsub(ignore_subscribe_messages=True)
        channel.psubscribe(f"{yard.prefix}:sse:*")
        channel.get_message(timeout=1)
        os.kill(process.pid, signal.SIGCONT)
        out, _ = process.communicate(timeout=60)
        found.said = json.loads(out.splitlines()[-1])
        while message := channel.get_message(timeout=0.2):
            found.live.append(message["data"])
        channel.close()
    finally:
        process.kill()
        process.wait()
    found.after = {path: yard.state(job_id) for path, job_id in found.jobs.items()}
    return found


def take_callbacks(yard):
    """Another sender takes what the stopped one had claimed."""
    yard.store.db.rows("UPDATE downloader_callbacks SET due_at = now() - interval '1 second' RETURNING 1")
    taken = [yard.store.claim_callback(60, 10) for _ in CALLBACKS]
    assert [found.epoch for found in taken] == [taken[0].epoch] * len(CALLBACKS)


def stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("path", [path for path in PATHS if path != "before_link"])
def test_a_stale_worker_changes_no_row_no_file_and_no_key(woken, path):
    for kind in ("rows", "files", "keys", "snapshot"):
        after = woken.after[path][kind]
        if kind == "files" and over(woken.after[path]):
            # A work folder that nobody needs may be removed by whoever sees it first; nothing may appear.
            missing = woken.before[path][kind].keys() - after.keys()
            assert after.items() <= woken.before[path][kind].items()
            assert not [name for name in missing if not name.startswith("jobs/")]
            continue
        assert after == woken.before[path][kind], kind


def over(state):
    """Whether the job has ended."""
    (job,) = state["rows"][TABLES[0]]
    return job["status"] in ("done", "failed")


def test_every_refused_write_says_so(woken):
    assert not any(woken.said["returned"].values()), woken.said["returned"]


def test_a_stale_worker_sends_no_progress(woken):
    assert not [message for message in woken.live if "progress" in message]


def test_a_claim_whose_answer_came_too_late_is_not_worked_on(woken):
    assert not {"answered_late", "claimed"} & set(woken.said["ran"])


def test_a_stop_between_the_last_look_and_the_link_publishes_nothing_for_clients(woken):
    """The kernel cannot be fenced: the file may appear, but no row names it, and it replaces nothing."""
    before, after = woken.before["before_link"], woken.after["before_link"]
    assert after["rows"] == before["rows"]
    appeared = after["files"].keys() - before["files"].keys()
    assert {name.rpartition("/")[2] for name in appeared} <= {"A.mp4"}
    kept = after["files"].keys() & before["files"].keys()
    assert {name: after["files"][name] for name in kept} == {name: before["files"][name] for name in kept}
