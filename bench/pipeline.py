"""The whole service on loopback: latency of a small job, 1,000 at once, a 1 GB job beside curl and ffmpeg, idle memory.

Postgres commits durably throughout. Run alone: ``python -m bench.pipeline [latency|burst|large|idle …]``.
"""

import http.client
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from downloader.store import Database
from tests.e2e.watching import events
from tests.service import Service, StandIn

LATENCY_JOBS = 100
BURST_JOBS = 1000
BURST_RUNS = 3
LARGE_RUNS = 5
UNFINISHED = "SELECT count(*) AS n FROM downloader_jobs WHERE status IN ('queued', 'running')"


@contextmanager
def running(folder: Path, **variables: str) -> Iterator[tuple[Service, StandIn]]:
    """The service and the stand-in, with the media kept for the next figure."""
    standin = StandIn(folder / "media", "small.mp4", "small.m4a", "big.mp4", "big.m4a")
    try:
        with Service(Path(tempfile.mkdtemp(dir=folder)), base=standin.base, variables=variables) as service:
            yield service, standin
    finally:
        standin.close()


def latency(folder: Path) -> None:
    """From before the POST to the terminal event, as a client sees it; 1 MB of picture and 90 kB of sound."""
    with running(folder) as (service, standin):
        for number in range(5):
            service.ended(service.post(standin.source("small", warm=number)))
        seen = []
        for number in range(LATENCY_JOBS):
            started = time.perf_counter()
            job_id = service.post(standin.source("small", run=number))
            last = [event.data for event in events(f"{service.url}/jobs/{job_id}/events")][-1]
            seen.append((time.perf_counter() - started) * 1000)
            assert last["status"] == "done", last
        inside = service.rows(
            "SELECT extract(epoch FROM finished_at - queued_at) * 1000 AS ms FROM downloader_jobs ORDER BY queued_at"
        )
        steps = service.rows(
            "SELECT name, percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at) * 1000)"
            " AS ran, percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - ready_at) * 1000)"
            " AS waited FROM downloader_steps GROUP BY name"
        )
    report("small job, POST to terminal event (ms)", seen, "p50 <= 30, p95 <= 60")
    report("small job, queued to done by Postgres (ms)", [float(row["ms"]) for row in inside[5:]], "")
    for row in steps:
        print(f"    {row['name']:<10} ran {row['ran']:6.1f} ms, waited {row['waited']:6.1f} ms (medians)")


def burst(folder: Path) -> None:
    """A thousand posts as fast as four clients can, until the last job is done."""
    rates = []
    with running(folder, MAX_QUEUE_SIZE="100000", MAX_CONCURRENT_WORKERS="4") as (service, standin):
        service.ended(service.post(standin.source("small", warm=1)))
        database = Database(service.database_url, size=1)
        for run in range(BURST_RUNS):
            urls = [standin.source("small", run=run, n=number) for number in range(BURST_JOBS)]
            started = time.perf_counter()
            with ThreadPoolExecutor(4) as clients:
                list(clients.map(lambda part: post_all(service.port, part), (urls[n::4] for n in range(4))))
            posted = time.perf_counter() - started
            while database.rows(UNFINISHED)[0]["n"]:
                time.sleep(0.1)
            took = time.perf_counter() - started
            failed = database.rows("SELECT count(*) AS n FROM downloader_jobs WHERE status = 'failed'")[0]["n"]
            rates.append(BURST_JOBS / took)
            print(f"    {BURST_JOBS} jobs: posted in {posted:.1f} s, done in {took:.1f} s, {failed} failed")
        database.close()
    report("1,000 small jobs at once (jobs/s)", rates, ">= 80, none failed")


def post_all(port: int, urls: list[str]) -> None:
    """Post a job for each URL over one connection, without more work than that: the cores are the service's."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for url in urls:
        connection.request("POST", "/jobs", json.dumps({"url": url}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 201, answer.status
    connection.close()


def large(folder: Path) -> None:
    """A job of 1 GB beside the sum of curl's download and ffmpeg's stream copy of the same files."""
    if not (shutil.which("curl") and shutil.which("ffmpeg")):
        print("    skipped: curl and ffmpeg are needed (Debian packages curl and ffmpeg)")
        return
    ratios = []
    with running(folder) as (service, standin):
        for run in range(LARGE_RUNS):
            peers = timed(lambda: curl_and_ffmpeg(folder, standin.base))
            started = time.perf_counter()
            job = service.ended(service.post(standin.source("big", run=run)), 300)
            ours = time.perf_counter() - started
            assert job["status"] == "done", job
            service.request("DELETE", f"/jobs/{job['id']}")
            print(
                f"    ours {ours:.2f} s (download {job['downloadMs']}, mux {job['muxMs']}, publish {job['uploadMs']} ms),"
            )
            print(f"    curl then ffmpeg {peers:.2f} s, {job['totalBytes'] / 1e9:.2f} GB")
            ratios.append(ours / peers)
    report("1 GB job: ours / (curl + ffmpeg -c copy)", ratios, "<= 1.15")


def curl_and_ffmpeg(folder: Path, base: str) -> None:
    files = [folder / "peer.mp4", folder / "peer.m4a"]
    for name, path in zip(("big.mp4", "big.m4a"), files, strict=True):
        subprocess.run(["curl", "-s", "-o", path, f"{base}/media/{name}"], check=True)
    out = folder / "peer-out.mp4"
    inputs = [argument for path in files for argument in ("-i", str(path))]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *inputs, "-c", "copy", str(out)], check=True)
    for path in (*files, out):
        path.unlink()


def idle(folder: Path) -> None:
    """Proportional set size of every process of the service once it has run a job and rests."""
    with running(folder) as (service, standin):
        service.ended(service.post(standin.source("small", warm=1)))
        time.sleep(2)
        total = 0
        for pid in tree(service.processes[0].pid):
            size, name = pss(pid), command(pid)
            total += size
            print(f"    {size / 1024:7.1f} MB  {name}")
    print(f"  idle, whole service without Postgres and Valkey: {total / 1024:.0f} MB PSS (<= 400)")


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    return [root, *(pid for child in children for pid in tree(int(child)))]


def pss(pid: int) -> int:
    """Proportional set size in KiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def command(pid: int) -> str:
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return b" ".join(arguments[1:6]).decode(errors="replace")


def timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def report(name: str, values: list[float], target: str) -> None:
    ordered = sorted(values)
    middle, high = statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    print(f"  {name}: median {middle:.2f}, p95 {high:.2f}, min {ordered[0]:.2f}, max {ordered[-1]:.2f}  [{target}]")


FIGURES: dict[str, Callable[[Path], None]] = {"latency": latency, "burst": burst, "large": large, "idle": idle}


def main(names: list[str] | None = None) -> None:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        for name in names or list(FIGURES):
            print(f"{name}:")
            FIGURES[name](folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
