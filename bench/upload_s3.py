"""Upload to a local S3 server (OpenStack Swift): ours beside rclone and the aws CLI, in turn, same file, same run.

``python -m bench.upload_s3 [MEBIBYTES] [ROUNDS]``. Peers that are not installed are left out and named. Debian:
``apt install rclone``; the aws CLI: ``pip install awscli`` (in an environment of its own) or ``apt install awscli``. The
CLI's transfer is measured as a library too (boto3's, without the start of a program). All send parts of 8 MiB over four
connections, as we do; a peer that takes twice the best one's time in the first round is not measured further.
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

from boto3.s3.transfer import TransferConfig

from downloader.artifacts import ArtifactStore, Publication, open_store
from downloader.artifacts.s3_client import connect
from downloader.artifacts.s3_upload import CONNECTIONS
from downloader.config import Settings
from tests.swift.server import Swift, running

GOAL = 0.9  # of the best peer
HOPELESS = 2.0  # times the best peer's time in the first round
PART = 8 << 20
JOB = "benchbench"
Upload = Callable[[int], None]


def open_artifacts(server: Swift) -> ArtifactStore:
    return open_store(
        Settings(
            s3_endpoint=server.endpoint,
            s3_use_ssl=False,
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
        tuned = ["--s3-chunk-size", f"{PART >> 20}M", "--s3-upload-concurrency", str(CONNECTIONS)]
        subprocess.run([program, *arguments, *tuned], env=environ, check=True)

    return upload


def aws(server: Swift, source: Path, program: str) -> Upload:
    config = source.with_name("aws.conf")
    config.write_text(
        f"[default]\ns3 =\n  multipart_chunksize = {PART}\n  max_concurrent_requests = {CONNECTIONS}\n"
        "  addressing_style = path\n"
    )
    environ = {
        **environment(),
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_DEFAULT_REGION": server.region,
        "AWS_CONFIG_FILE": str(config),
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


def library(server: Swift, source: Path) -> Upload:
    settings = Settings(s3_region=server.region, s3_access_key=server.access_key, s3_secret_key=server.secret_key)
    client = connect(settings, f"http://{server.endpoint}", connections=CONNECTIONS)
    parts = TransferConfig(multipart_chunksize=PART, max_concurrency=CONNECTIONS)

    def upload(turn: int) -> None:
        client.upload_file(str(source), server.bucket, f"artifacts/{JOB}/library{turn}.bin", Config=parts)

    return upload


def peers(server: Swift, store: ArtifactStore, source: Path) -> dict[str, Upload]:
    """Everyone who is installed, ours first; the others are named."""
    found = {"ours": ours(store, source), "boto3": library(server, source)}
    for name, start in (("rclone", rclone), ("aws", aws)):
        program = shutil.which(name)
        works = program and subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0
        if program and works:
            found[name] = start(server, source, program)
        else:
            print(f"{name} is not installed: left out")
    return found


def measure(uploads: dict[str, Upload], rounds: int, store: ArtifactStore) -> dict[str, list[float]]:
    """Seconds of each upload, in turn."""
    times: dict[str, list[float]] = {name: [] for name in uploads}
    left = dict(uploads)
    for turn in range(rounds):
        for name, upload in left.items():
            started = time.perf_counter()
            upload(turn)
            times[name].append(time.perf_counter() - started)
            store.delete_job(JOB)
        bound = HOPELESS * min((times[name][0] for name in left if name != "ours"), default=0.0)
        left = {name: upload for name, upload in left.items() if name == "ours" or times[name][0] <= bound}
    return times


def main() -> int:
    """Print each one's median rate; 1 when ours is below 0.9 of the best peer's."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory(prefix="bench-upload-") as folder:
        source = Path(folder, "source.bin")
        with source.open("wb") as file:
            for _ in range(size):
                file.write(os.urandom(1 << 20))
        with running(Path(folder, "swift")) as server:
            store = open_artifacts(server)
            times = measure(peers(server, store, source), rounds, store)
    rates = {name: size * (1 << 20) / 1e6 / statistics.median(found) for name, found in times.items()}
    print(f"{size} MiB, medians:")
    for name, rate in rates.items():
        print(f"{name:<8} {rate:7.0f} MB/s   each: {', '.join(f'{seconds:.2f} s' for seconds in times[name])}")
    best = max(rate for name, rate in rates.items() if name != "ours")
    print(f"ours / best peer: {rates['ours'] / best:.2f} (goal: at least {GOAL})")
    return int(rates["ours"] < GOAL * best)


if __name__ == "__main__":
    sys.exit(main())
