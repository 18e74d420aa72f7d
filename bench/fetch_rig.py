"""What the fetch benchmarks share: an nginx, our engine in a process of its own, peers, and how rounds are reported.

Ours is timed inside its process, as a service that is up already; a peer is timed as the command that it is.
"""

import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MIB = 1 << 20

_NGINX = """
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error; user root;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; keepalive_requests 1000000;
  client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t;
  uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t;
  server {{ listen {host}:{port}; root {folder}/www; {extra} }}
}}
"""

OURS = """
import json, resource, sys, time
from ipaddress import ip_network
from pathlib import Path
from downloader.config import Settings
from downloader.fetch.engine import Engine
from downloader.fetch.task import Task
from downloader.handoff import Track
order = json.loads(sys.argv[1])
networks = (ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"))
work = Path(order["work"])
settings = Settings(data_dir=work, media_allow_networks=networks, typetype_api_base="http://127.0.0.1:1",
                    download_workers=order["workers"])
engine = Engine(settings)
track = Track(key="video", kind="video", transport="ranges", url=order["url"])
task = Task(work=work, epoch=order["epoch"], check=lambda: None, progress=lambda done, total: None)
before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
fetched = engine.fetch([track], task)
seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF)
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(json.dumps({"seconds": seconds, "cpu": cpu, "moved": fetched.bytes_moved, "path": fetched.tracks[0].path,
                  "rss": after.ru_maxrss * 1024, "idle": before.ru_maxrss * 1024}))
"""


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds of wall time and of CPU; bytes moved (ours only), and the peak of memory in bytes (ours only)."""

    seconds: float
    cpu: float
    moved: int = 0
    rss: int = 0
    idle: int = 0


def need(*programs: str) -> bool:
    """Whether all ``programs`` are there; says which are not and how to get them."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        print(f"skipped: {', '.join(missing)} missing (Debian: apt install nginx-light aria2 curl)")
    return not missing


def free_port(host: str = "127.0.0.1") -> int:
    with socket.create_server((host, 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def nginx(
    files: dict[str, int], extra: str = "", *, host: str = "127.0.0.1", prefix: tuple[str, ...] = ()
) -> Iterator[tuple[str, Path]]:
    """An nginx that serves ``files`` (name: bytes of noise; negative: a hole that long); its URL and its folder.

    ``prefix`` goes before its command.
    """
    with tempfile.TemporaryDirectory(prefix="bench-fetch-") as name:
        folder = Path(name)
        (folder / "www").mkdir()
        for file, size in files.items():
            with (folder / "www" / file).open("wb") as target:
                for _ in range(size // MIB):
                    target.write(os.urandom(MIB))
                target.truncate(abs(size))
        port = free_port()
        config = _NGINX.format(folder=folder, host=host, port=port, extra=extra)
        (folder / "conf").write_text(config, encoding="utf-8")
        server = subprocess.Popen([*prefix, "nginx", "-c", str(folder / "conf")], stderr=subprocess.DEVNULL)
        try:
            _wait(host, port)
            yield f"http://{host}:{port}", folder
        finally:
            server.terminate()
            server.wait()


def ours(url: str, folder: Path, *, workers: int = 8, epoch: int = 1, keep: bool = False) -> Run:
    """Our engine on ``url``; what it made is compared by size and removed unless ``keep``."""
    work = folder / "ours"
    order = json.dumps({"url": url, "work": str(work), "workers": workers, "epoch": epoch})
    done = subprocess.run([sys.executable, "-c", OURS, order], check=True, capture_output=True, text=True, cwd=ROOT)
    found = json.loads(done.stdout)
    if not keep:
        shutil.rmtree(work)
    return Run(found["seconds"], found["cpu"], found["moved"], found["rss"], found["idle"])


def peer(command: list[str], folder: Path, *, forced: bool = False) -> Run:
    """A command that downloads into the folder ``{out}``; ``forced``: to the disk as well, as ours always does."""
    out = folder / "peer"
    out.mkdir()
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([part.replace("{out}", str(out)) for part in command], check=True, capture_output=True)
    if forced:
        subprocess.run(["sync", "--data", *map(str, out.iterdir())], check=True)
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(out)
    return Run(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def aria2c(url: str, connections: int = 8) -> list[str]:
    split = [f"-x{connections}", f"-s{connections}", "-k1M", "--file-allocation=none"]
    return ["aria2c", "-q", *split, "-d", "{out}", "-o", "file", url]


def curl(url: str) -> list[str]:
    return ["curl", "-s", "-o", "{out}/file", url]


def rounds(runs: dict[str, Callable[[], Run]], count: int) -> dict[str, list[Run]]:
    """``count`` rounds of all, in turn, so that the machine's moods hit each alike."""
    results: dict[str, list[Run]] = {name: [] for name in runs}
    for _ in range(count):
        for name, run in runs.items():
            results[name].append(run())
    return results


def median(runs: list[Run]) -> float:
    return statistics.median(run.seconds for run in runs)


def table(results: dict[str, list[Run]], size: int) -> None:
    """Print medians, spread, rate and CPU per GiB."""
    print(f"{'':<20} {'median':>9} {'min':>9} {'max':>9} {'MB/s':>7} {'CPU s/GiB':>10}")
    for name, runs in results.items():
        times = [run.seconds for run in runs]
        cpu = statistics.median(run.cpu for run in runs) * (1 << 30) / size
        middle = statistics.median(times)
        print(
            f"{name:<20} {middle:>7.2f} s {min(times):>7.2f} s {max(times):>7.2f} s {size / middle / 1e6:>7.0f} {cpu:>10.2f}"
        )


def goal(words: str, value: float, least: float, *, at_most: bool = False) -> bool:
    """Print a figure beside its goal; whether it is met."""
    met = value <= least if at_most else value >= least
    print(
        f"{words}: {value:.2f} (goal: {'at most' if at_most else 'at least'} {least:.2f}) {'ok' if met else 'MISSED'}"
    )
    return met


def _wait(host: str, port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError("nginx does not answer")
