"""`make demo` ends with a playable file and leaves nothing running."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import processes_in

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_demo_ends_with_a_playable_file(tmp_path):
    saved = tmp_path / "saved"
    done = subprocess.run(
        [sys.executable, "-m", "tests.demo", str(saved)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = saved.iterdir()
    assert str(file) in done.stdout
    assert "picture: h264 1280x720" in done.stdout
    assert "sound: aac" in done.stdout
    folder = re.search(r"data in (\S+)\)", done.stdout)[1]
    assert not Path(folder).exists()
    assert processes_in(Path(folder)) == []
    assert "Traceback" not in done.stderr
