"""Uploads that are killed: whatever the moment, the next attempt ends whole and a sweep leaves no part."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from downloader.config import Settings
from tests.artifacts.conftest import JOB
from tests.artifacts.killing import kill_and_recover


@pytest.mark.parametrize("delay", [0.1, 0.3, 30.0])
def test_a_killed_upload_is_made_good(
    s3_settings: Settings, make_source: Callable[[bytes], Path], delay: float
) -> None:
    outcome = kill_and_recover(s3_settings, make_source(os.urandom(20 << 20)), JOB, delay)
    if delay > 1:
        assert outcome.object_stood
        assert outcome.uploads_left == 0
