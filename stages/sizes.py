"""How many processes and slots each pool has when nothing else is said.

As many jobs at once as MAX_CONCURRENT_WORKERS says; muxes no more than cores.
"""

import math
import os

from downloader.config import Settings
from downloader.route import JANITOR, ROUTE

# One Python process moves several hundred MB/s over its sockets; past this many jobs a second one pays.
_SLOTS_PER_PROCESS = 16


def default_size(stage: str, settings: Settings) -> tuple[int, int]:
    """(processes, slots per process) of the stage's pool."""
    jobs = settings.max_concurrent_workers
    if stage == JANITOR:
        return 1, 1
    cores = os.cpu_count() or 1
    if any(step.cpu_bound for step in ROUTE.values() if step.stage == stage):
        return max(1, min(jobs, cores)), 1
    processes = max(1, min(cores, math.ceil(jobs / _SLOTS_PER_PROCESS)))
    return processes, math.ceil(jobs / processes)
