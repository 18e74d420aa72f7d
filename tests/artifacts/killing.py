"""Uploads killed at random moments: ``python -m tests.artifacts.killing [KILLS]`` runs many, the tests a few."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from downloader.artifacts import ArtifactStore, Publication, Sweep, open_store
from downloader.config import Settings, load
from tests.swift.server import running

LONGEST = 0.7  # seconds from the first byte: about what the upload takes


@dataclass(frozen=True)
class Outcome:
    """What a kill left: a whole object (published, the row not yet written), an unfinished upload, both or neither."""

    object_stood: bool
    uploads_left: int


def _environ(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "S3_ENDPOINT": settings.s3_endpoint,
        "S3_USE_SSL": "false",
        "S3_BUCKET": settings.s3_bucket,
        "S3_ACCESS_KEY": settings.s3_access_key,
        "S3_SECRET_KEY": settings.s3_secret_key,
    }


def _publication(job_id: str, epoch: int) -> Publication:
    return Publication(job_id=job_id, name="Title.mp4", content_type="video/mp4", epoch=epoch)


def _sweep(store: ArtifactStore, *, dry_run: bool = False) -> int:
    def everyone(ids: Sequence[str]) -> Collection[str]:
        return ids

    later = datetime.now(UTC) + timedelta(hours=1)
    return store.sweep(Sweep(keep=everyone, running=lambda _ids: (), parts_before=later, dry_run=dry_run)).parts


def kill_and_recover(settings: Settings, source: Path, job_id: str, delay: float) -> Outcome:
    """Kill an upload ``delay`` seconds after it began, publish again as the next epoch does, sweep; assert it is whole."""
    store = open_store(settings)
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.artifacts.killing", "--child", str(source), job_id],
        env=_environ(settings),
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        timer = threading.Timer(delay, child.send_signal, [signal.SIGKILL])
        timer.start()
        child.wait()
        timer.cancel()
        timer.join()
    uploads_left = _sweep(store, dry_run=True)
    before = store.sweep(
        Sweep(keep=lambda _ids: (), running=lambda _ids: (), parts_before=datetime.now(UTC), dry_run=True)
    )
    artifact = store.put(source, _publication(job_id, 2), progress=lambda _done, _total: None, check=lambda: None)
    _sweep(store)
    info = store.head(artifact)
    assert info is not None
    assert (info.size, info.digest) == (source.stat().st_size, artifact.digest)
    assert artifact.locator == f"artifacts/{job_id}/Title.mp4"
    assert _sweep(store, dry_run=True) == 0
    store.delete_job(job_id)
    store.close()
    return Outcome(object_stood=before.jobs > 0, uploads_left=uploads_left)


def _child(source: Path, job_id: str) -> None:
    store = open_store(load())
    print("begun", flush=True)
    store.put(source, _publication(job_id, 1), progress=lambda _done, _total: None, check=lambda: None)


def main(kills: int) -> None:
    """Kill so many uploads and print what was left of them."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder, "swift")) as server:
        settings = Settings(
            s3_endpoint=server.endpoint,
            s3_use_ssl=False,
            s3_region=server.region,
            s3_bucket=server.bucket,
            s3_access_key=server.access_key,
            s3_secret_key=server.secret_key,
        )
        source = Path(folder, "source.mp4")
        source.write_bytes(os.urandom(40 << 20))
        outcomes = [
            kill_and_recover(settings, source, f"killed-{number:06}", random.uniform(0, LONGEST))
            for number in range(kills)
        ]
    print(f"{kills} kills: every artifact whole, no part left after a sweep")
    print(f"uploads that were left to sweep: {sum(outcome.uploads_left for outcome in outcomes)}")
    print(f"objects that stood already: {sum(outcome.object_stood for outcome in outcomes)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _child(Path(sys.argv[2]), sys.argv[3])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
