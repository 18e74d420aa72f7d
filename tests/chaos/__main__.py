"""``python -m tests.chaos``: the whole service under a seeded schedule of faults; every job must end as it should.

A run that fails is repeated by its seed: the same jobs are asked for and the same faults strike at the same times. What
they meet differs by milliseconds from run to run.
"""

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.chaos.clients import KINDS, S3_KINDS, Clients, Load, undisturbed
from tests.chaos.faults import SHORT, Faults
from tests.chaos.findings import judge
from tests.chaos.report import Report
from tests.chaos.scene import scene

LONG = {
    "kill": 1000,
    "kill everything": 12,
    "kill supervisor": 12,
    "freeze": 60,
    "flush": 100,
    "restart valkey": 25,
    "crash valkey": 15,
    "restart postgres": 25,
    "crash postgres": 15,
    "cut": 40,
}
SIZES = {"short": (300, 110.0, SHORT), "long": (10_000, 1500.0, LONG)}


def main(arguments: argparse.Namespace) -> int:
    jobs, seconds, plan = SIZES["long" if arguments.long else "short"]
    jobs, seconds = arguments.jobs or jobs, arguments.seconds or seconds
    print(f"seed {arguments.seed}: {jobs} jobs over {seconds:.0f} s, {plan}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        well = False
        try:
            report = play(Path(name), arguments, Load(jobs, pace=seconds / jobs), seconds, plan)
            well = not report.findings.problems
        finally:
            if not well:
                kept = Path(tempfile.gettempdir()) / f"chaos-log-{arguments.seed}"
                shutil.copy(Path(name) / "service.log", kept)
                print(f"seed {arguments.seed} failed: {again(arguments.seed)}; the service's log: {kept}")
    print(report.text())
    if arguments.report:
        Path(arguments.report).write_text(report.markdown() + "\n")
    return 0 if well else 1


def play(folder: Path, arguments: argparse.Namespace, load: Load, seconds: float, plan: dict[str, int]) -> Report:
    """The storm itself, from the start of the servers to the end of the last process."""
    kinds = S3_KINDS if arguments.s3 else KINDS
    with scene(folder, s3=arguments.s3) as place:
        expected = undisturbed(place, kinds)
        faults = Faults(place, arguments.seed, plan, seconds)
        clients = Clients(place, kinds, load, arguments.seed)
        striking = threading.Thread(target=faults.run)
        started = time.monotonic()
        striking.start()
        clients.run()
        striking.join()
        took = time.monotonic() - started
        findings = judge(place, clients.asked, expected, faults.struck, seed=arguments.seed)
        findings.problems += clients.broken + missed(faults, plan)
    findings.problems += [f"process {pid} outlived the service" for pid in place.outlived()]
    return Report(again(arguments.seed), arguments.seed, took, clients, faults, findings)


def again(seed: int) -> str:
    """The command that plays this storm once more."""
    given = [] if "--seed" in sys.argv else ["--seed", str(seed)]
    return " ".join(("python -m tests.chaos", *sys.argv[1:], *given))


def missed(faults: Faults, plan: dict[str, int]) -> list[str]:
    """A fault that did not strike is no proof; a claim that nobody took over is a loss."""
    short = {kind: (times, faults.counts[kind]) for kind, times in plan.items() if faults.counts[kind] != times}
    return [f"struck less often than planned: {short}"] * bool(short) + [
        f"not taken over: {claim}" for claim in faults.takeovers.times.given_up
    ]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--seed", type=int, help="of jobs and faults (default: any)", default=random.SystemRandom().randrange(10**6)
    )
    parser.add_argument("--long", action="store_true", help="1,000 kills and 10,000 jobs instead of 60 and 300")
    parser.add_argument("--jobs", type=int, help="another number of jobs")
    parser.add_argument("--seconds", type=float, help="another length of the schedule")
    parser.add_argument("--s3", action="store_true", help="artifacts go to a real S3 server")
    parser.add_argument("--report", default="", help="a file for what is printed at the end")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(parse()))
