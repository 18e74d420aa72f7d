"""What a storm left: every job judged, every leftover found, every word of the log that should not be there."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis

from downloader import artifacts, config
from downloader.artifacts import Sweep
from downloader.route import stage_names
from tests.chaos.clients import Asked, packets
from tests.chaos.scene import Scene, s3_client
from tests.waiting import until

SETTLE_SECONDS = 120.0
LEFT_SECONDS = 45.0
# Said by our own code when it met what it cannot explain.
ALARMING = ("step_crashed", "runner_failed", "chore_failed", "duty_failed", "sweep_failed", "not_removed")
# gunicorn's words for a worker of it that was killed, and for a port that the last arbiter's orphans still hold.
_OF_KILLS = ("Worker (pid:", "Connection in use:", "connection to (", "Can't connect to (")

_JOBS = """
SELECT j.id, j.url, j.status, j.error_code, j.error, j.artifact, j.artifact_name, j.artifact_size,
       (SELECT max(crashes) FROM downloader_steps s WHERE s.job_id = j.id) AS crashes,
       (SELECT max(retries) FROM downloader_steps s WHERE s.job_id = j.id) AS retries
  FROM downloader_jobs j WHERE j.url LIKE %(seed)s
"""


@dataclass
class Findings:
    """What is wrong, and how the jobs ended."""

    problems: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    unknown: int = 0
    lapses: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)


def unfinished(scene: Scene) -> int:
    """How many jobs have not ended."""
    rows = scene.service.rows("SELECT count(*) AS n FROM downloader_jobs WHERE status IN ('queued', 'running')")
    return int(rows[0]["n"])


def judge(scene: Scene, asked: list[Asked], expected: dict[str, str], struck: dict[str, str], *, seed: int) -> Findings:
    """Look at everything once all jobs should have ended."""
    found = Findings()
    try:
        until(scene.service.healthy, SETTLE_SECONDS)
        until(lambda: not unfinished(scene), SETTLE_SECONDS)
    except AssertionError:
        found.problems += [f"{unfinished(scene)} jobs did not end, healthy: {scene.service.healthy()}"]
    known = {item.job_id: item for item in asked}
    rows = scene.service.rows(_JOBS, {"seed": f"%seed={seed}&%"})
    files = _Files(scene)
    with ThreadPoolExecutor(2) as pool:
        judged = pool.map(lambda row: _judge(row, known.get(row["id"]), expected, files), rows)
        for row, problem in zip(rows, judged, strict=True):
            found.ends[row["error_code"] or row["status"]] += 1
            found.problems += problem
    found.unknown = sum(row["id"] not in known for row in rows)
    there = {row["id"] for row in rows}
    for item in asked:
        found.ends["deleted"] += item.delete in (204, 404)
        if (item.delete in (204, 404)) == (item.job_id in there):
            found.problems.append(
                f"job {item.job_id} ({item.kind}): {item.delete} to DELETE, there: {item.job_id in there}"
            )
        if list(item.percents) != sorted(item.percents):
            found.problems.append(f"job {item.job_id} ({item.kind}): percent fell: {item.percents}")
    found.problems += leftovers(scene)
    _read_log(scene, found, struck)
    return found


def _judge(row: dict[str, Any], asked: Asked | None, expected: dict[str, str], files: "_Files") -> list[str]:
    """What is wrong with the end of one job."""
    kind = parse_qs(urlsplit(row["url"]).query)["kind"][0].replace("_", " ")
    who = f"job {row['id']} ({kind})"
    if asked and asked.cancel == 202 and row["error_code"] != "cancelled":
        return [f"{who} was cancelled with 202 and is {row['status']} {row['error_code']}"]
    if row["status"] == "done":
        try:
            data = files.only(row["id"], row["artifact_size"])
        except AssertionError as error:
            return [f"{who}: {error}"]
        same = hashlib.sha256(data).hexdigest() == asked.digest if asked and asked.digest else False
        # What its client has fetched and this is byte for byte has been looked into by the client.
        bundle = asked.packets if asked and same else packets(data)
        return [] if bundle == expected[kind] else [f"{who} has other packets than undisturbed"]
    if row["status"] != "failed":
        return [f"{who} is {row['status']}"]
    code = row["error_code"]
    if asked and asked.digest:
        return [f"{who} was done for its client and is failed as {code}"]
    explained = (
        (code == "cancelled" and asked is not None and asked.cancel)
        or code == expected[kind]
        or (code in ("poisoned", "media_invalid") and row["crashes"] == 3)
    )
    return [] if explained else [f"{who} failed as {code} after {row['crashes']} crashes: {row['error']}"]


class _Files:
    """Artifacts as they lie in the store, without the service."""

    def __init__(self, scene: Scene) -> None:
        self._folder = scene.service.data / "artifacts"
        self._s3 = s3_client(scene.store) if scene.store else None
        self._bucket = scene.store.bucket if scene.store else ""

    def only(self, job_id: str, size: int) -> bytes:
        """The one file of a job, sidecars (which are no media) aside; AssertionError when there is not one."""
        if self._s3:
            listed = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=f"artifacts/{job_id}/").get("Contents", [])
            keys = [item["Key"] for item in listed]
            assert len(keys) == 1, f"{len(keys)} objects: {keys}"
            data = self._s3.get_object(Bucket=self._bucket, Key=keys[0])["Body"].read()
        else:
            folder = self._folder / job_id
            names = [item.name for item in folder.iterdir()] if folder.exists() else []
            assert len(names) == 1, f"{len(names)} files: {names}"
            data = (folder / names[0]).read_bytes()
        assert len(data) == size, f"{len(data)} bytes, the row says {size}"
        return data


def leftovers(scene: Scene) -> list[str]:
    """Everything that no job accounts for, once the janitor had its time."""
    _sweep(scene)
    try:
        until(lambda: not list(_left(scene)), LEFT_SECONDS)
    except AssertionError:
        return [f"left behind: {item}" for item in _left(scene)]
    return []


def _sweep(scene: Scene) -> None:
    """The sweep that the janitor makes every ten minutes, as it will be in a day: what then is left is left for good."""
    settings = config.load(scene.service.environment)
    store = artifacts.open_store(settings)
    rows = scene.service.rows("SELECT id FROM downloader_jobs WHERE artifact <> ''")
    standing = {row["id"] for row in rows}
    later = datetime.now(UTC) + timedelta(hours=1)
    store.sweep(
        Sweep(
            keep=lambda ids: [i for i in ids if i in standing], running=lambda _: (), parts_before=later, dry_run=False
        )
    )
    store.close()


def _left(scene: Scene) -> Iterator[str]:
    service = scene.service
    yield from _left_on_disk(
        service.data, {row["id"] for row in service.rows("SELECT id FROM downloader_jobs WHERE artifact <> ''")}
    )
    for table, name in (
        ("downloader_reservations", "reservations"),
        ("downloader_steps WHERE lease_until IS NOT NULL OR worker IS NOT NULL", "leases"),
        ("downloader_steps WHERE state IN ('ready', 'running', 'waiting')", "unfinished steps"),
        ("downloader_jobs WHERE sealed_authorization IS NOT NULL", "kept authorizations"),
    ):
        number = service.rows(f"SELECT count(*) AS n FROM {table}")[0]["n"]
        if number:
            yield f"{number} {name}"
    with redis.Redis.from_url(scene.servers.redis_url) as client:
        for stage in stage_names():
            if number := client.xlen(f"downloader:queue:{stage}"):
                yield f"{number} entries of {stage}"
    if scene.store:
        client = s3_client(scene.store)
        for upload in client.list_multipart_uploads(Bucket=scene.store.bucket).get("Uploads", []):
            yield f"upload of {upload['Key']}"
        client.close()


def _left_on_disk(data: Path, standing: set[str]) -> Iterator[str]:
    for item in (data / "jobs").iterdir():
        yield f"work folder {item.name}"
    folder = data / "artifacts"
    for item in folder.iterdir() if folder.exists() else ():
        if item.name not in standing:
            yield f"artifact folder {item.name}"
        elif hidden := [file.name for file in item.iterdir() if file.name.startswith(".")]:
            yield f"temporary files {hidden} in artifact folder {item.name}"
    for item in data.iterdir():
        if item.name not in ("jobs", "artifacts", "secret.key", "volume.id"):
            yield f"{item.name} in DATA_DIR"


def _read_log(scene: Scene, found: Findings, struck: dict[str, str]) -> None:
    """Steps may be taken only from those that were struck; bugs may be told by nobody."""
    with scene.service.log.open(errors="replace") as log:
        for line in log:
            if not line.startswith("{"):
                if line.startswith("Traceback"):
                    found.problems.append("a traceback in the log")
                continue
            said = json.loads(line)
            bad = said.get("level") == "error" and not said["event"].startswith(_OF_KILLS)
            if bad or said.get("event") in ALARMING:
                found.problems.append(f"in the log: {line.strip()[:2000]}")
            elif said.get("level") == "warning":
                found.warnings[said["event"].partition(":")[0]] += 1
            if said.get("event") == "step_lapsed":
                found.lapses[struck.get(said["worker"].partition("/")[0], "not struck")] += 1
