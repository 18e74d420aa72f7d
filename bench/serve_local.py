"""Serving 1 GiB from local disk by one web worker, beside nginx's sendfile, while GET /jobs/{id} is asked all along.

Peers: nginx and curl, Debian's packages. Both servers send the same file from the page cache to the same client.
"""

import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from downloader import embedded
from downloader.store import migrate
from tests.web.rows import Rows
from tests.web.server import Server

SIZE = 1 << 30
RUNS = 5
PAUSE_SECONDS = 0.005
GOAL_SHARE = 0.7
GOAL_P99_MS = 20.0

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit;
events {{ }}
http {{
    access_log off; sendfile on; sendfile_max_chunk 1m; tcp_nopush on;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


def main() -> int:
    """Measure, print, and return 1 when a goal is missed."""
    if missing := [name for name in ("nginx", "curl") if shutil.which(name) is None]:
        print(f"skipped: needs Debian's {' and '.join(missing)}")
        return 0
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd()) as name,
        service(Path(name)) as (server, job_id),
        nginx(Path(name)) as port,
    ):
        peer = f"http://127.0.0.1:{port}/artifacts/{job_id}/clip.mp4"
        ours = f"http://127.0.0.1:{server.port}/jobs/{job_id}/artifact"
        fetch(peer), fetch(ours)
        times: dict[str, list[float]] = {peer: [], ours: []}
        latencies: list[float] = []
        for _ in range(RUNS):
            times[peer].append(fetch(peer))
            with asking(server, job_id, latencies):
                times[ours].append(fetch(ours))
    share = statistics.median(times[peer]) / statistics.median(times[ours])
    p99 = statistics.quantiles(latencies, n=100)[-1] * 1000
    for label, found in (("nginx sendfile", times[peer]), ("one web worker", times[ours])):
        spread = ", ".join(f"{SIZE / each / 1e6:.0f}" for each in sorted(found))
        print(f"{label}: {SIZE / statistics.median(found) / 1e6:.0f} MB/s median ({spread})")
    print(f"share of nginx: {share:.2f} (goal {GOAL_SHARE})")
    print(f"GET /jobs/{{id}} meanwhile: p50 {statistics.median(latencies) * 1000:.1f} ms, ", end="")
    print(f"p99 {p99:.1f} ms of {len(latencies)} (goal {GOAL_P99_MS:.0f})")
    return int(share < GOAL_SHARE or p99 > GOAL_P99_MS)


@contextmanager
def service(folder: Path) -> Iterator[tuple[Server, str]]:
    """A web server with one worker, and a done job with an artifact of SIZE bytes."""
    postgres, valkey = embedded.Postgres(folder / "postgres"), embedded.Valkey(folder / "valkey")
    postgres.start()
    valkey.start()
    try:
        migrate(postgres.dsn)
        with closing(Rows(postgres.dsn, folder / "data")) as rows:
            job_id = rows.done(b"")
            with (folder / "data" / "artifacts" / job_id / "clip.mp4").open("wb") as file:
                for _ in range(SIZE >> 20):
                    file.write(bytes(1 << 20))
            environ = {
                "DATABASE_URL": postgres.dsn,
                "REDIS_URL": valkey.url,
                "DATA_DIR": str(folder / "data"),
                "LOG_LEVEL": "warning",
            }
            with Server(environ) as server:
                yield server, job_id
    finally:
        valkey.stop()
        postgres.stop()


@contextmanager
def nginx(folder: Path) -> Iterator[int]:
    """An nginx with one process that serves the same folder; its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, root=folder / "data"))
    # As root nginx would serve as nobody, who may not read a private folder.
    user = ["-g", "user root;"] if Path("/root").owner() == "root" and folder.owner() == "root" else []
    process = subprocess.Popen(["nginx", "-c", str(config), *user])
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
        yield port
    finally:
        process.terminate()
        process.wait()


def fetch(url: str) -> float:
    """Seconds that curl takes to read ``url`` whole."""
    started = time.perf_counter()
    done = subprocess.run(
        ["curl", "-sf", "-o", "/dev/null", "-w", "%{size_download}", url], check=True, capture_output=True
    )
    assert int(done.stdout) == SIZE
    return time.perf_counter() - started


@contextmanager
def asking(server: Server, job_id: str, latencies: list[float]) -> Iterator[None]:
    """Ask for the job every few milliseconds over one kept connection; seconds of each answer into ``latencies``."""
    over = threading.Event()

    def ask() -> None:
        with closing(server.connect()) as connection:
            while not over.wait(PAUSE_SECONDS):
                started = time.perf_counter()
                connection.request("GET", f"/jobs/{job_id}")
                connection.getresponse().read()
                latencies.append(time.perf_counter() - started)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
