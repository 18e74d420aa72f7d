"""A name whose answer changes between two requests, with a real resolver in a network of the test's own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fetch.rebinding import PRIVATE, PUBLIC, RESOLVER, SCENARIOS

_SET_UP = 'mount --bind "$1" "$(readlink -f /etc/resolv.conf)" && mount --bind "$2" /etc/nsswitch.conf && shift 2 && exec "$@"'


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the process in its own network printed."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("a network of its own takes unshare and the rights of root")
    folder = tmp_path_factory.mktemp("etc")
    (folder / "resolv.conf").write_text(f"nameserver {RESOLVER}\noptions timeout:1 attempts:2\n", encoding="ascii")
    (folder / "nsswitch.conf").write_text("hosts: dns\n", encoding="ascii")
    inside = [
        "unshare",
        "--mount",
        "--net",
        "sh",
        "-c",
        _SET_UP,
        "sh",
        *map(str, sorted(folder.iterdir(), reverse=True)),
    ]
    command = [sys.executable, "-m", "tests.fetch.rebinding", *SCENARIOS]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow namespaces and mounts of one's own")
    ended = subprocess.run(
        [*inside, *command], capture_output=True, text=True, timeout=240, cwd=Path(__file__).parents[2], check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


@pytest.fixture(scope="module")
def played(lines: list[str]) -> dict[str, dict[str, object]]:
    """What became of each scenario."""
    return dict(zip(SCENARIOS, map(json.loads, lines[1:]), strict=True))


def test_a_silent_name_server_does_not_hold_up_a_cancel(lines: list[str]) -> None:
    assert json.loads(lines[0]) < 1.0


@pytest.mark.parametrize("name", ["redirected", "resumed"])
def test_no_connection_follows_a_changed_answer(played: dict[str, dict[str, object]], name: str) -> None:
    found = played[name]
    assert found["answers"] == sorted([PUBLIC, PRIVATE])
    assert (found["code"], found["reached"], found["left"]) == ("blocked_address", 0, [])
    assert found["asked"] == (1 if name == "redirected" else found["asked"])
    assert found["asked"] != 0


def test_of_two_answers_only_the_public_one_is_used(played: dict[str, dict[str, object]]) -> None:
    found = played["mixed"]
    assert (found["code"], found["reached"]) == ("", 0)
    assert found["asked"] != 0


def test_the_network_of_the_test_is_a_working_one(played: dict[str, dict[str, object]]) -> None:
    assert (played["steady"]["code"], played["steady"]["reached"]) == ("", 0)
    assert played["careless"]["reached"] != 0
