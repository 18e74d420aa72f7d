"""Small volumes that really fill up: a tmpfs in a mount namespace of its own, reached from here through /proc."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

_MOUNT = 'mount -t tmpfs -o "size=$2,nr_inodes=$3" tests "$1" && echo mounted && exec cat'


@dataclass(frozen=True)
class Volume:
    """``path`` leads there from this process, ``inside`` from those that are started with ``enter`` before them."""

    path: Path
    inside: Path
    enter: tuple[str, ...]

    def fill(self, *, leave: int = 0) -> Path:
        """Write until nothing more fits, or no more than ``leave`` bytes; the file that takes the room."""
        filler = self.path / "filler"
        descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for size in (1 << 20, 4096):
                with until_full():
                    while True:
                        os.write(descriptor, bytes(size))
            os.truncate(descriptor, os.fstat(descriptor).st_size - leave)
        finally:
            os.close(descriptor)
        return filler

    def take_every_name(self) -> Path:
        """Make files until no file, folder or link can be made any more; the folder that holds them."""
        folder = self.path / "names"
        folder.mkdir()
        with until_full():
            for number in count():
                (folder / str(number)).touch()
        return folder


@contextmanager
def until_full() -> Iterator[None]:
    """Ends when the block is told that there is no room."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


@contextmanager
def volume(folder: Path, *, size: int, names: int = 10_000) -> Iterator[Volume]:
    """A volume of ``size`` bytes and ``names`` files at ``folder``; skips the test where we may not mount one."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("only root may mount a small volume to fill")
    folder.mkdir(parents=True)
    # It holds the mount until our end of its standard input closes, also when we are killed.
    holder = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", _MOUNT, "sh", str(folder), str(size), str(names)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        if holder.stdout.readline() != b"mounted\n":
            pytest.skip("a mount namespace or a tmpfs cannot be had here")
        pid = str(holder.pid)
        enter = ("nsenter", "--target", pid, "--mount", f"--wd={Path.cwd()}")
        try:
            yield Volume(Path(f"/proc/{pid}/root{folder}"), folder, enter)
        finally:
            holder.stdin.close()
            holder.wait(10)
