"""docs/adding-a-stage.md is true: a stage added by it runs in the real pipeline, and the contract suite takes it up."""

import re
import shutil
import subprocess
import sys

import pytest

from downloader.route import ROUTE
from tests.service import ROOT, Service, StandIn

PAGE = (ROOT / "docs" / "adding-a-stage.md").read_text(encoding="utf-8")
BLOCKS = [
    "\n".join(line.removeprefix("   ") for line in block.splitlines())
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
]


@pytest.fixture
def house(tmp_path):
    """A copy of the project with the page's stage in it."""
    copy = tmp_path / "project"
    for package in ("downloader", "stages", "web", "tests"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    file, entry = BLOCKS
    (copy / "stages" / "checksum.py").write_text(file)
    route = copy / "downloader" / "route.py"
    text = route.read_text()
    opening = text.index("ROUTE: dict[str, RouteStep] = {")
    end = text.index("\n}\n", opening)
    route.write_text(f"{text[:end]}\n    {entry.strip()}{text[end:]}")
    return copy


def test_the_page_has_a_file_and_a_line():
    assert len(BLOCKS) == 2
    assert "checksum" not in ROUTE


def test_what_the_page_adds_passes_the_check(house):
    for task in (["ruff", "check"], ["ruff", "format", "--check"]):
        command = [sys.executable, "-m", *task, "--no-cache", "stages/checksum.py", "downloader/route.py"]
        ran = subprocess.run(command, cwd=house, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout


def test_a_stage_added_by_the_page_runs_in_the_pipeline(house, tmp_path):
    standin = StandIn(tmp_path / "media")
    try:
        with Service(tmp_path / "service", base=standin.base, root=house) as service:
            health = service.request("GET", "/health/deep").json()
            job = service.ended(service.post(standin.source("short")))
            rows = service.rows("SELECT outputs FROM downloader_steps WHERE name = 'checksum' AND state = 'done'")
    finally:
        standin.close()
    assert health["workers"]["checksum"] >= 1
    assert job["status"] == "done"
    assert len(rows[0]["outputs"]["sha256"]) == 64


def test_the_contract_suite_takes_it_up(house):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/contract/test_stages.py",
        "-k",
        "checksum",
    ]
    ran = subprocess.run(command, cwd=house, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"\b[1-9]\d* passed", ran.stdout)
