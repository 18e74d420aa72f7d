"""``make setup`` on machines that lack something, and on one that lacks nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path):
    """The Makefile and what it looks at, without an environment."""
    for name in ("Makefile", "setup.cfg", "pyproject.toml", "requirements-dev.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def python(folder: Path, lacking: str) -> Path:
    """A Python that fails when its code holds ``lacking``."""
    fake = folder / "python"
    fake.write_text(f'#!/bin/sh\ncase "$2" in *"{lacking}"*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    fake.chmod(0o755)
    return fake


def make(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", *argv], cwd=folder, env=clean, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("lacking", "advice"),
    [("import venv", "apt-get install python3-venv"), ("version_info", "needs Python 3.11 or newer")],
)
def test_what_is_missing_is_said_with_what_to_do(checkout, lacking, advice):
    done = make(checkout, "setup", f"PYTHON={python(checkout, lacking)}")
    assert done.returncode != 0
    assert advice in done.stderr
    assert not (checkout / ".venv").exists()


def test_setup_runs_again_only_when_the_lock_changes(checkout):
    stamp = checkout / ".venv" / ".installed"
    stamp.parent.mkdir()
    stamp.touch()
    assert make(checkout, "-q", "setup").returncode == 0
    later = stamp.stat().st_mtime + 10
    os.utime(checkout / "requirements-dev.lock", (later, later))
    assert make(checkout, "-q", "setup").returncode == 1


def test_help_lists_every_target(checkout):
    done = make(checkout)
    for target in ("setup", "demo", "test", "check", "bench", "chaos", "lock"):
        assert f"make {target}" in done.stdout
