"""Under which account a private server runs. Postgres refuses to run as root, so root lends it a system user's."""

import os
import pwd
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from downloader.embedded.process import ServerFailed

CANDIDATES = ("postgres", "nobody")
# Bits of CapPrm in /proc/self/status, least power first.
CAPABILITIES = (("dac_read_search", 2), ("dac_override", 1))


@dataclass(frozen=True, slots=True)
class Account:
    """The user a server runs as; ``borrowed`` when it is not the one we run as."""

    uid: int
    gid: int
    borrowed: bool

    def command(self, argv: list[str], *paths: Path, death_signal: signal.Signals | None = None) -> list[str]:
        """``argv`` so that it runs under this account and gets ``death_signal`` when its parent ends.

        ``paths`` are what it must reach: where a folder above one of them is closed to the account (a checkout below
        /root, a temporary folder), the right to read through it is lent as well. Raises ServerFailed when that
        cannot be.
        """
        if not self.borrowed:
            return argv
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise ServerFailed("As root this needs the command setpriv (Debian: apt-get install util-linux).")
        prefix = [setpriv, f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        if not all(open_to_all(path.parent) for path in paths):
            capability = _capability()
            prefix += [f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}"]
        if death_signal is not None:
            # The kernel forgets the signal when the user changes, so setpriv sets it once more afterwards.
            prefix += [f"--pdeathsig={death_signal.name.removeprefix('SIG')}"]
        return [*prefix, "--", *argv]

    def own(self, folder: Path) -> None:
        """Make ``folder`` where it is missing, closed to others, and give it to this account."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.borrowed:
            os.chown(folder, self.uid, self.gid)
        folder.chmod(0o700)


def choose(folder: Path) -> Account:
    """The account for a server that lives in ``folder``: our own, or for root the folder's owner or a system user."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), borrowed=False)
    if folder.exists() and (owner := folder.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid, borrowed=True)
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, borrowed=True)
    raise ServerFailed(f"Postgres does not run as root and there is no user {' or '.join(CANDIDATES)} to run it as.")


def named() -> bool:
    """Whether the user we run as has an entry in the system's list."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return True


def open_to_all(folder: Path) -> bool:
    """Whether everybody may pass through ``folder`` and all folders above it."""
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))


def _capability() -> str:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    permitted = int(next(line for line in status.splitlines() if line.startswith("CapPrm")).split()[1], 16)
    for name, bit in CAPABILITIES:
        if permitted >> bit & 1:
            return name
    raise ServerFailed("The folder of the private servers lies below one that is closed to others: set DATA_DIR.")
