"""``downloader up`` as a process, and every process that belongs to it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

DOWNLOADER = [sys.executable, "-c", "from downloader.cli import main; main()"]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The variables of a service of its own in ``folder``, and nothing of ours."""
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "DATA_DIR": str(folder),
        "HTTP_ADDR": "127.0.0.1",
        "HTTP_PORT": str(free_port()),
        "TYPETYPE_API_BASE": "http://127.0.0.1:9",
        "MEDIA_ALLOW_NETWORKS": "127.0.0.0/8",
        "STORAGE_MIN_FREE_BYTES": "0",
        "STORAGE_MIN_FREE_PERCENT": "0",
        **more,
    }


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def processes_of(folder: Path) -> list[int]:
    """Every process that was given DATA_DIR=``folder``: the command and all that it started."""
    wanted = f"DATA_DIR={folder}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def run(*argv: str, env: dict[str, str], **options) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    options.setdefault("timeout", 60)
    return subprocess.run([*DOWNLOADER, *argv], env=env, capture_output=True, text=True, check=False, **options)


def start(env: dict[str, str]) -> subprocess.Popen[str]:
    """``downloader up``, not yet listening."""
    return subprocess.Popen(
        [*DOWNLOADER, "up"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
