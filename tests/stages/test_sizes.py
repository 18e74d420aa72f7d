"""Pools are sized by MAX_CONCURRENT_WORKERS when nothing else is said."""

import os

import pytest

from downloader.config import Settings
from downloader.route import ROUTE
from stages.sizes import default_size


@pytest.mark.parametrize("jobs", [1, 2, 3, 8, 40, 1024])
@pytest.mark.parametrize("stage", sorted({step.stage for step in ROUTE.values()}))
def test_as_many_jobs_at_once_as_it_says_and_muxes_no_more_than_cores(stage, jobs):
    processes, slots = default_size(stage, Settings(max_concurrent_workers=jobs))
    if any(step.cpu_bound for step in ROUTE.values() if step.stage == stage):
        assert (processes, slots) == (min(jobs, os.cpu_count()), 1)
    else:
        assert jobs <= processes * slots < jobs + processes
        assert processes <= os.cpu_count()


def test_there_is_one_janitor():
    assert default_size("janitor", Settings(max_concurrent_workers=50)) == (1, 1)
