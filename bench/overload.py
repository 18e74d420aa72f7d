"""Ten thousand posts at once: memory, order, visible queues, and how quickly web answers while they are worked off.

Run alone: ``python -m bench.overload [--jobs N]``. Exits with 1 when a goal is missed. The media are tiny, so that what
is measured is the queue and not the network; Postgres commits durably throughout.
"""

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from downloader.route import ROUTE, stage_names
from downloader.store import Database
from tests.service import Service, StandIn

JOBS = 10_000
WARM_JOBS = 100
POSTERS = 8
PROBE_PAUSE = 0.1  # seconds between two pairs of GET and POST
SAMPLE_PAUSE = 2.0
GOAL_MS = 50.0
GOAL_GROWTH_MB = 8.0
GOAL_INVERSION = 64
"""Claims that may overtake each other: as many as posters, slots and web processes have under way at a time."""

UNFINISHED = "SELECT count(*) AS n FROM downloader_jobs WHERE status IN ('queued', 'running')"
CLAIMED = """
    SELECT j.id, s.name, extract(epoch FROM s.ready_at) AS ready, extract(epoch FROM s.started_at) AS claimed,
           extract(epoch FROM j.queued_at) AS posted
      FROM downloader_steps s JOIN downloader_jobs j ON j.id = s.job_id WHERE j.url LIKE %(like)s
"""


@dataclass
class Figures:
    """What a run came to. Milliseconds, megabytes (PSS) by process, places by step."""

    posted_ms: list[float] = field(default_factory=list)
    posting_seconds: float = 0.0
    get_ms: list[float] = field(default_factory=list)
    post_ms: list[float] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=dict)
    deepest: dict[str, int] = field(default_factory=dict)
    oldest: dict[str, float] = field(default_factory=dict)
    listed: str = ""
    inversions: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    done: int = 0
    not_done: int = 0


class Client:
    """One kept connection that times what it asks (milliseconds)."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[float, Any]:
        """(milliseconds, the answer's JSON). Raises RuntimeError for any answer but 200 and 201."""
        started = time.perf_counter()
        headers = {"Content-Type": "application/json"} if body is not None else {}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        data = answer.read()
        took = (time.perf_counter() - started) * 1000
        if answer.status not in (200, 201):
            raise RuntimeError(f"{method} {path} was answered with {answer.status}: {data[:200]!r}")
        return took, json.loads(data)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def run(service: Service, standin: StandIn, jobs: int) -> Figures:
    """Warm up, post ``jobs`` at once, watch until the last is done."""
    found = Figures()
    post_all(service.port, [standin.source("short", warm=n) for n in range(WARM_JOBS)])
    with_database(service, wait_for_none)
    found.memory = {name: [size] for name, size in memory(service).items()}
    started = time.perf_counter()
    found.posted_ms = post_all(service.port, [standin.source("short", load=n) for n in range(jobs)])
    found.posting_seconds = time.perf_counter() - started
    over = threading.Event()
    probe = subprocess.Popen(
        [sys.executable, "-m", "bench.overload", "--probe", str(service.port), standin.source("short", probe="")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    threading.Thread(target=sample, args=(service, found, over), daemon=True).start()
    with_database(service, lambda database: wait_for_none(database, "%load=%"))
    found.seconds = time.perf_counter() - started
    told, _ = probe.communicate(b"enough\n")
    found.get_ms, found.post_ms = json.loads(told)
    over.set()
    with_database(service, wait_for_none)
    for name, size in memory(service).items():
        found.memory.setdefault(name, [size]).append(size)
    with_database(service, lambda database: judge(database, found))
    return found


def with_database(service: Service, use: Callable[[Database], None]) -> None:
    database = Database(service.database_url, size=1)
    try:
        use(database)
    finally:
        database.close()


def wait_for_none(database: Database, like: str = "%") -> None:
    """Wait until no job with such a URL is unfinished."""
    while database.rows(f"{UNFINISHED} AND url LIKE %(like)s", {"like": like})[0]["n"]:
        time.sleep(0.25)


def judge(database: Database, found: Figures) -> None:
    """Who was done, and in which order steps were claimed."""
    rows = database.rows(
        "SELECT status, count(*) AS n FROM downloader_jobs WHERE url LIKE '%%load=%%' GROUP BY status", {}
    )
    counts = {row["status"]: row["n"] for row in rows}
    found.done, found.not_done = counts.get("done", 0), sum(counts.values()) - counts.get("done", 0)
    claims = database.rows(CLAIMED, {"like": "%load=%"})
    for step in ROUTE:
        found.inversions[step] = inversion([(row["ready"], row["claimed"]) for row in claims if row["name"] == step])


def inversion(pairs: Sequence[tuple[Any, Any]]) -> int:
    """How far, in places, a step was claimed from its turn: 0 is strictly first come, first served."""
    by_claim = sorted(range(len(pairs)), key=lambda n: pairs[n][1])
    by_turn = {number: place for place, number in enumerate(sorted(range(len(pairs)), key=lambda n: pairs[n][0]))}
    return max((abs(place - by_turn[number]) for place, number in enumerate(by_claim)), default=0)


def post_all(port: int, urls: list[str]) -> list[float]:
    """Post them all as fast as POSTERS connections can; how long each took (milliseconds)."""
    taken: list[float] = []

    def post(part: list[str]) -> None:
        client = Client(port)
        taken.extend([client.ask("POST", "/jobs", {"url": url})[0] for url in part])
        client.close()

    threads = [threading.Thread(target=post, args=(urls[n::POSTERS],)) for n in range(POSTERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(taken) != len(urls):
        raise RuntimeError(f"{len(urls) - len(taken)} posts were refused")
    return taken


def probe(port: int, url: str) -> None:
    """A client with a pace, in a process of its own: prints what its GETs and POSTs took once its input ends."""
    over = threading.Event()
    threading.Thread(target=_await_word, args=(over,), daemon=True).start()
    client, gets, posts = Client(port), [], []
    number = 0
    while not over.wait(PROBE_PAUSE):
        number += 1
        took, answer = client.ask("POST", "/jobs", {"url": f"{url}{number}"})
        posts.append(took)
        gets.append(client.ask("GET", f"/jobs/{answer['id']}")[0])
    print(json.dumps([gets, posts]))


def _await_word(over: threading.Event) -> None:
    sys.stdin.read(1)
    over.set()


def sample(service: Service, found: Figures, over: threading.Event) -> None:
    """Memory and the queues as an operator sees them, every SAMPLE_PAUSE seconds."""
    while not over.wait(SAMPLE_PAUSE):
        for name, size in memory(service).items():
            found.memory.setdefault(name, [size]).append(size)
        answer = service.request("GET", "/health/deep")
        for stage, queue in answer.json().get("queues", {}).items():
            found.deepest[stage] = max(found.deepest.get(stage, 0), queue["ready"])
            found.oldest[stage] = max(found.oldest.get(stage, 0.0), queue["oldestSeconds"])
        if not found.listed:
            found.listed = listed(service)


def listed(service: Service) -> str:
    """What ``downloader jobs list`` says of the queues."""
    command = [sys.executable, "-c", "from downloader.cli import main; main()", "jobs", "list", "--limit", "1"]
    return subprocess.run(command, env=service.environment, capture_output=True, text=True, check=False).stderr


def memory(service: Service) -> dict[str, float]:
    """PSS of each process of the service in megabytes, by what it is."""
    found = {}
    for pid in tree(service.processes[0].pid):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            found[f"{command_of(pid)} ({pid})"] = int(rollup.partition("\nPss:")[2].split()[0]) / 1024
        except (OSError, IndexError, ProcessLookupError):
            continue
    return found


def command_of(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return " ".join(word for word in words[2:4] if word.isidentifier()) or "mux child"


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    try:
        children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    except OSError:
        return []
    return [root, *(pid for child in children for pid in tree(int(child)))]


def p(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def report(found: Figures, jobs: int) -> bool:
    """Print the figures beside their goals; whether all are met."""
    growth = {name: max(sizes) - sizes[0] for name, sizes in found.memory.items()}
    worst = max(found.inversions.values())
    goals = [
        (f"all {jobs} jobs done, none lost", found.done == jobs and not found.not_done, f"{found.done} done"),
        *(
            (
                f"{what} while it drains, p95 <= {GOAL_MS:.0f} ms",
                p(values, 0.95) <= GOAL_MS,
                f"p50 {statistics.median(values):.1f}, p95 {p(values, 0.95):.1f}, p99 {p(values, 0.99):.1f} ms, {len(values)} asked",
            )
            for what, values in (("GET", found.get_ms), ("POST", found.post_ms))
        ),
        (
            f"every process grows by <= {GOAL_GROWTH_MB:.0f} MB",
            max(growth.values()) <= GOAL_GROWTH_MB,
            f"at most {max(growth.values()):.1f} MB",
        ),
        (
            f"first come, first served, within {GOAL_INVERSION} places",
            worst <= GOAL_INVERSION,
            ", ".join(f"{step} {places}" for step, places in found.inversions.items()),
        ),
        (
            "every queue seen on /health/deep and by `downloader jobs list`",
            set(found.deepest) == set(stage_names()) and all(f"{stage}: " in found.listed for stage in stage_names()),
            ", ".join(
                f"{stage} {found.deepest[stage]} deep, {found.oldest[stage]:.0f} s old" for stage in found.deepest
            ),
        ),
    ]
    print(
        f"  {jobs} posts over {POSTERS} connections in {found.posting_seconds:.1f} s"
        f" (p50 {statistics.median(found.posted_ms):.1f}, p95 {p(found.posted_ms, 0.95):.1f},"
        f" p99 {p(found.posted_ms, 0.99):.1f} ms); all done after {found.seconds:.0f} s, {jobs / found.seconds:.0f} jobs/s"
    )
    for name, sizes in found.memory.items():
        if len(sizes) > 2 or "mux child" not in name:  # those that were replaced meanwhile are left out
            print(f"    {name:<40} before {sizes[0]:6.1f} MB, peak {max(sizes):6.1f}, after {sizes[-1]:6.1f}")
    for goal, met, figure in goals:
        print(f"  {'ok    ' if met else 'MISSED'} {goal}: {figure}")
    return all(met for _, met, _ in goals)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--probe", nargs=2, metavar=("PORT", "URL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.probe:
        probe(int(arguments.probe[0]), arguments.probe[1])
        return 0
    variables = {"MAX_QUEUE_SIZE": "100000", "MAX_CONCURRENT_WORKERS": "4", "WEB_WORKERS": "2"}
    with tempfile.TemporaryDirectory(prefix="overload-") as name:
        standin = StandIn(Path(name) / "media", "short.mp4", "short.m4a")
        try:
            with Service(Path(name), base=standin.base, variables=variables) as service:
                found = run(service, standin, arguments.jobs)
        finally:
            standin.close()
    return 0 if report(found, arguments.jobs) else 1


if __name__ == "__main__":
    sys.exit(main())
