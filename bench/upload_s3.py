"""Upload to a local S3 server (OpenStack Swift): ours beside rclone and the aws CLI, in turn, same file, same run.

``python -m bench.upload_s3 [MEBIBYTES] [ROUNDS]``. Peers that are not installed are left out and named. Debian:
``apt install rclone``; the aws CLI: ``pip install awscli`` (in an environment of its own) or ``apt install awscli``.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from downloader.artifacts import ArtifactStore, Publication, open_store
from downloader.config import Settings
from tests.swift.server import Swift, running

GOAL = 0.9  # of the best peer
JOB = "benchbench"
Upload = Callable[[int], None]


def open_artifacts(server: Swift) -> ArtifactStore:
    return open_store(
        Settings(
            s3_endpoint=server.endpoint,
            s3_region=server.region,
            s3_bucket=server.bucket,
            s3_access_key=server.access_key,
            s3_secret_key=server.secret_key,
        )
    )


def ours(store: ArtifactStore, source: Path) -> Upload:

    def upload(turn: int) -> None:
        publication = Publication(job_id=JOB, name=f"ours{turn}.bin", content_type="video/mp4", epoch=1)
        store.put(source, publication, progress=lambda _done, _total: None, check=lambda: None)

    return upload


def environment() -> dict[str, str]:
    """Ours, without what would lead a peer elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_"))}


def rclone(server: Swift, source: Path, program: str) -> Upload:
    environ = {
        **environment(),
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_BENCH_TYPE": "s3",
        "RCLONE_CONFIG_BENCH_PROVIDER": "Other",
        "RCLONE_CONFIG_BENCH_ENDPOINT": f"http://{server.endpoint}",
        "RCLONE_CONFIG_BENCH_REGION": server.region,
        "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": server.access_key,
        "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": server.secret_key,
    }

    def upload(turn: int) -> None:
        target = f"bench:{server.bucket}/artifacts/{JOB}/rclone{turn}.bin"
        arguments = ["copyto", str(source), target, "--s3-no-check-bucket", "--retries", "1", "-q"]
        subprocess.run([program, *arguments], env=environ, check=True)

    return upload


def aws(server: Swift, source: Path, program: str) -> Upload:
    environ = {
        **environment(),
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_DEFAULT_REGION": server.region,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }

    def upload(turn: int) -> None:
        target = f"s3://{server.bucket}/artifacts/{JOB}/aws{turn}.bin"
        arguments = [
            "--endpoint-url",
            f"http://{server.endpoint}",
            "s3",
            "cp",
            str(source),
            target,
            "--only-show-errors",
        ]
        subprocess.run([program, *arguments], env=environ, check=True)

    return upload


def peers(server: Swift, store: ArtifactStore, source: Path) -> dict[str, Upload]:
    """Everyone who is installed, ours first; the others are named."""
    found = {"ours": ours(store, source)}
    for name, start in (("rclone", rclone), ("aws", aws)):
        program = shutil.which(name)
        works = program and subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0
        if program and works:
            found[name] = start(server, source, program)
        else:
            print(f"{name} is not installed: left out")
    return found


def main() -> int:
    """Print each one's median rate; 1 when ours is below 0.9 of the best peer's."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory(prefix="bench-upload-") as folder:
        source = Path(folder, "source.bin")
        with source.open("wb") as file:
            for _ in range(size):
                file.write(os.urandom(1 << 20))
        with running(Path(folder, "swift")) as server:
            store = open_artifacts(server)
            uploads = peers(server, store, source)
            times: dict[str, list[float]] = {name: [] for name in uploads}
            for turn in range(rounds):
                for name, upload in uploads.items():
                    started = time.perf_counter()
                    upload(turn)
                    times[name].append(time.perf_counter() - started)
                    store.delete_job(JOB)
    rates = {name: size * (1 << 20) / 1e6 / statistics.median(found) for name, found in times.items()}
    for name, rate in rates.items():
        print(f"{name:<8} {rate:7.0f} MB/s   each: {', '.join(f'{seconds:.2f} s' for seconds in times[name])}")
    best = max((rate for name, rate in rates.items() if name != "ours"), default=0.0)
    if best:
        print(f"ours / best peer: {rates['ours'] / best:.2f} (goal: at least {GOAL})")
    return int(rates["ours"] < GOAL * best)


if __name__ == "__main__":
    sys.exit(main())
