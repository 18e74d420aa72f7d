"""``python -m tests.chaos``: the whole service under a seeded schedule of faults; every job must end as it should.

A run that fails is repeated by its seed. Timings differ from run to run, so the same schedule may meet the work at
other points; the counts and the victims' order stay the same.
"""

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from downloader.embedded import Servers
from tests.chaos.clients import SOURCES, Asked, Clients, packets
from tests.chaos.faults import Faults, descendants
from tests.service import Service, StandIn
from tests.waiting import ended, until

SETTLE_SECONDS = 90.0


def main(arguments: argparse.Namespace) -> int:
    plan = {
        "kill": arguments.kills,
        "kill_supervisor": arguments.supervisor_kills,
        "freeze": arguments.freezes,
        "flush": arguments.flushes,
        "restart_valkey": arguments.valkey_restarts,
        "restart_postgres": arguments.postgres_restarts,
        "cut": arguments.cuts,
    }
    print(f"seed {arguments.seed}: {arguments.jobs} jobs, {plan}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        servers, standin = Servers(folder), StandIn(folder / "media")
        servers.start()
        variables = {
            "WEB_WORKERS": "2",
            "MAX_CONCURRENT_WORKERS": "4",
            "LEASE_SECONDS": "4",
            "MAX_QUEUE_SIZE": "100000",
        }
        service = Service(
            folder,
            base=standin.base,
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            variables=variables,
        )
        try:
            with service:
                expected = {source: undisturbed(service, standin, source) for source in sorted(set(SOURCES))}
                calm = load(service, standin, arguments.seed, arguments.jobs // 5)
                faults = Faults(service, servers, arguments.seed, plan, arguments.seconds)
                problems = storm(service, standin, faults, expected, arguments, calm)
                processes = descendants(service.processes[-1].pid)
            problems += [f"process {pid} outlived the service" for pid in processes if not ended(pid, 10)]
        finally:
            servers.stop()
            standin.close()
            if arguments.keep_log:
                Path(arguments.keep_log).write_bytes(service.log.read_bytes())
    for problem in problems:
        print(f"PROBLEM {problem}")
    print("all well" if not problems else f"{len(problems)} problems; seed {arguments.seed}")
    return 1 if problems else 0


def undisturbed(service: Service, standin: StandIn, source: str) -> str:
    """What a source becomes when nothing happens: the digest of its packets, or its error code."""
    job = service.ended(service.post(standin.source(source, calm=1)))
    if job["status"] == "failed":
        return str(job["errorCode"])
    return packets(service.request("GET", f"/jobs/{job['id']}/artifact").data)


def load(service: Service, standin: StandIn, seed: int, jobs: int) -> float:
    """Jobs per second without faults."""
    started = time.monotonic()
    Clients(service, standin, seed + 1_000_000, jobs).run()
    return jobs / (time.monotonic() - started)


def storm(  # noqa: PLR0917 - the whole run
    service: Service,
    standin: StandIn,
    faults: Faults,
    expected: dict[str, str],
    arguments: argparse.Namespace,
    calm: float,
) -> list[str]:
    """Load and faults together; what went wrong."""
    pace = 0.0 if arguments.unpaced else arguments.seconds / arguments.jobs
    clients = Clients(service, standin, arguments.seed, arguments.jobs, pace)
    stop = threading.Event()
    striking = threading.Thread(target=faults.run, args=(stop,))
    started = time.monotonic()
    striking.start()
    clients.run()
    took = time.monotonic() - started
    striking.join()
    until(lambda: not unfinished(service), SETTLE_SECONDS)
    problems = [problem for asked in clients.asked for problem in judge(service, asked, expected)]
    problems += leftovers(service)
    report(clients, faults)
    if arguments.unpaced:
        rate = arguments.jobs / took
        print(f"throughput: {rate:.1f} jobs/s in the storm, {calm:.1f} without faults ({rate / calm:.0%})")
    return problems


def judge(service: Service, asked: Asked, expected: dict[str, str]) -> list[str]:
    """What is wrong with the end of one job."""
    who = f"job {asked.job_id} ({asked.source})"
    wrong = [] if list(asked.percents) == sorted(asked.percents) else [f"{who}: percent fell: {asked.percents}"]
    answer = service.request("GET", f"/jobs/{asked.job_id}")
    if asked.deleted:
        return wrong + ([] if answer.status == 404 else [f"{who} was deleted and is there"])
    job = answer.json()
    if job["status"] == "done":
        found = packets(service.request("GET", f"/jobs/{asked.job_id}/artifact").data)
        return wrong + ([] if found == expected[asked.source] else [f"{who} has other packets than undisturbed"])
    code = job.get("errorCode")
    explained = (
        (code == "cancelled" and asked.cancelled)
        or code == expected[asked.source]
        or (code in ("poisoned", "media_invalid") and crashed_thrice(service, asked.job_id))
    )
    return wrong + ([] if explained else [f"{who} failed as {code}: {job.get('error')}"])


def crashed_thrice(service: Service, job_id: str) -> bool:
    rows = service.rows("SELECT max(crashes) AS n FROM downloader_steps WHERE job_id = %(id)s", {"id": job_id})
    return bool(rows[0]["n"] == 3)


def unfinished(service: Service) -> int:
    rows = service.rows("SELECT count(*) AS n FROM downloader_jobs WHERE status IN ('queued', 'running')")
    return int(rows[0]["n"])


def leftovers(service: Service) -> list[str]:
    """Work folders, reservations, leases and artifacts that no job accounts for."""
    jobs, artifacts = service.data / "jobs", service.data / "artifacts"
    done = {row["id"] for row in service.rows("SELECT id FROM downloader_jobs WHERE status = 'done'")}

    def left() -> list[str]:
        found = [f"work folder {item.name}" for item in jobs.iterdir()]
        found += [f"artifact folder {item.name}" for item in artifacts.iterdir() if item.name not in done]
        found += [f"two files in {item.name}" for item in artifacts.iterdir() if len(list(item.iterdir())) > 1]
        found += ["reservations"] * len(service.rows("SELECT 1 AS n FROM downloader_reservations"))
        found += ["leases"] * len(service.rows("SELECT 1 AS n FROM downloader_steps WHERE lease_until IS NOT NULL"))
        return found

    try:
        until(lambda: not left(), 30)
    except AssertionError:
        return [f"left behind: {item}" for item in left()]
    return []


def report(clients: Clients, faults: Faults) -> None:
    print(f"faults: {faults.tally.counts}")
    print(f"clients: {len(clients.asked)} jobs accepted, {clients.refused} answers refused or lost and asked again,")
    print(f"  {sum(a.cancelled for a in clients.asked)} cancelled, {sum(a.deleted for a in clients.asked)} deleted")
    for kind, seconds in sorted(faults.tally.recoveries.items()):
        ordered = sorted(seconds)
        high = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        print(f"recovery, {kind}: {len(ordered)} steps, p50 {statistics.median(ordered):.2f} s, p99 {high:.2f} s")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=100.0, help="how long the schedule is")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--supervisor-kills", type=int, default=2)
    parser.add_argument("--freezes", type=int, default=6)
    parser.add_argument("--flushes", type=int, default=6)
    parser.add_argument("--valkey-restarts", type=int, default=2)
    parser.add_argument("--postgres-restarts", type=int, default=3)
    parser.add_argument("--cuts", type=int, default=4)
    parser.add_argument("--unpaced", action="store_true", help="as many jobs as eight clients can, for the throughput")
    parser.add_argument("--keep-log", default="", help="where to keep the service's log")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(parse()))
