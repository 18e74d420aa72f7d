"""What a storm did and what came of it, in words."""

from collections import Counter
from dataclasses import dataclass

from tests.chaos.clients import Clients
from tests.chaos.faults import Faults
from tests.chaos.findings import Findings


@dataclass
class Report:
    """``took`` is the storm's length in seconds, from the first post to the last job's end."""

    command: str
    seed: int
    took: float
    clients: Clients
    faults: Faults
    findings: Findings

    def text(self) -> str:
        """All of it, line by line."""
        asked = self.clients.asked
        lines = [
            f"seed {self.seed}, {self.took:.0f} s: {self.command}",
            f"faults: {_counts(self.faults.counts)}",
            f"killed and frozen: {_counts(self.faults.victims)}",
            f"clients: {len(asked)} jobs accepted, {sum(bool(a.percents) for a in asked)} watched",
            f"cancels: {sum(a.cancel > 0 for a in asked)} asked for, {sum(a.cancel == 202 for a in asked)} granted",
            f"files: {sum(bool(a.digest) for a in asked)} fetched and looked into by their clients",
            f"answers lost or refused, and asked for again: {_counts(self.clients.refused)}",
            f"ends: {_counts(self.findings.ends)}",
            f"jobs whose client never heard of them (their answer was lost): {self.findings.unknown}",
            f"steps that were taken from a worker: {_counts(self.findings.lapses)}",
            f"warnings in the log: {_counts(self.findings.warnings)}",
        ]
        times = self.faults.takeovers.times
        lines += [f"runs again after {line}" for line in times.lines()]
        lines += [f"stricken steps whose job ended instead, or that had just finished: {times.unseen}"]
        lines += [f"PROBLEM {problem}" for problem in self.findings.problems[:200]]
        return "\n".join([*lines, f"{len(self.findings.problems)} problems" if self.findings.problems else "all well"])


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counter.most_common() if number) or "none"
