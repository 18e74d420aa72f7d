"""``downloader up``: private servers where none are set, migrations, then everything under one supervisor."""

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType

import click
import structlog

from downloader import config
from downloader.cli import setting
from downloader.cli.client import Service, Unreachable
from downloader.config import Settings
from downloader.embedded import ServerFailed, Servers
from downloader.errors import StoreRefused, StoreUnavailable
from downloader.store import migrate

DATABASE_PATIENCE_SECONDS = 60.0  # a Postgres beside us may still be starting
START_SECONDS = 60.0
LOOK_SECONDS = 0.05
PR_SET_CHILD_SUBREAPER = 36
# The supervisor drains its workers and then ends what is left; only a broken one takes longer than this on top.
OVERTIME_SECONDS = 10.0

log = structlog.get_logger()


class Stop(BaseException):
    """SIGTERM or SIGINT came."""


EPILOG = """\b
Examples:
  downloader up
  HTTP_PORT=8080 DATA_DIR=/srv/downloads downloader up
  DATABASE_URL=postgres://user:secret@db/typetype REDIS_HOST=cache downloader up
"""


@click.command(epilog=EPILOG)
def up() -> None:
    """Run the whole service under one supervisor: web, every stage and the janitor.

    Where neither DATABASE_URL nor DB_URL is set, a private Postgres runs as well, and where none of REDIS_URL,
    REDIS_ADDR and REDIS_HOST is, a private Valkey, with their data under DATA_DIR. Ctrl-C or SIGTERM ends
    everything; unfinished jobs go on at the next start.
    """
    try:
        settings = setting.start()
        _check_folder(settings)
        _check_port(settings)
        status = _run(settings)
    except (setting.Refused, ServerFailed) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or settings.data_dir}: {error.strerror}.") from error
    sys.exit(status)


def _run(settings: Settings) -> int:
    _adopt_orphans()
    try:
        with _stoppable(), ExitStack() as stack:
            stack.callback(_await_all, settings.drain_seconds + OVERTIME_SECONDS)
            servers = Servers(
                setting.private_folder(settings),
                with_postgres=not settings.database_location,
                with_valkey=not settings.redis_location,
            )
            stack.callback(servers.stop)
            _say_what_is_private(settings)
            servers.start()
            environment = {}
            if servers.postgres:
                environment["DATABASE_URL"] = servers.database_url
            if servers.valkey:
                environment["REDIS_URL"] = servers.redis_url
            _migrate(settings, settings.database_location or servers.database_url)
            return _supervise(settings, servers, environment)
    except Stop:
        return 0


def _say_what_is_private(settings: Settings) -> None:
    """A variable that was forgotten or mistyped would otherwise look like an empty database."""
    folder = str(setting.private_folder(settings))
    if not settings.database_location:
        log.info("private_postgres", reason=f"{config.DATABASE_NAMES} is not set", folder=folder)
    if not settings.redis_location:
        log.info("private_valkey", reason=f"{config.REDIS_NAMES} is not set", folder=folder)


def _adopt_orphans() -> None:
    """Become the parent of whatever loses its own below us, so that it can be waited for."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _await_all(patience: float) -> None:
    """Wait until nothing of ours runs any more: a signal may have come while a process was being started."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not ended:
            time.sleep(LOOK_SECONDS)


def _migrate(settings: Settings, dsn: str) -> None:
    """Bring the database up to date as soon as it is there. Raises Refused when it refuses us, or stays away."""
    deadline = time.monotonic() + DATABASE_PATIENCE_SECONDS
    waiting = False
    while True:
        try:
            applied = migrate(dsn)
        except StoreUnavailable as error:
            if isinstance(error, StoreRefused) or time.monotonic() > deadline:
                raise setting.Refused(setting.blamed(settings, error)) from error
            if not waiting:
                reason = setting.blamed(settings, error)
                log.warning("waiting_for_postgres", reason=reason, seconds=DATABASE_PATIENCE_SECONDS)
                waiting = True
            time.sleep(1)
        else:
            log.info("migrated", applied=applied)
            return


def _supervise(settings: Settings, servers: Servers, environment: Mapping[str, str]) -> int:
    """Run the supervisor until it ends, a server is lost for good, or we are told to stop."""
    # Only we hold the other end of the lifeline: however we end, the supervisor sees it close.
    lifeline, ours = os.pipe()
    child: subprocess.Popen[bytes] | None = None
    try:
        try:
            child = subprocess.Popen(
                [sys.executable, "-m", "stages", "up", "--lifeline-fd", str(lifeline)],
                env=os.environ | environment,
                pass_fds=(lifeline,),
                start_new_session=True,  # Ctrl-C at a terminal comes to us, and from us to it
            )
        finally:
            os.close(lifeline)
        _announce(settings, child)
        while child.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                child.wait(1.0)
            if lost := servers.lost():
                raise ServerFailed(f"A private server will not stay up; its log is {lost / 'log'}.")
        return child.returncode
    finally:
        if child is not None:
            _end(child, settings.drain_seconds + OVERTIME_SECONDS)
        os.close(ours)


def _announce(settings: Settings, child: "subprocess.Popen[bytes]") -> None:
    """Say where we listen as soon as we do."""
    service = Service(settings.http_url, timeout=2.0)
    deadline = time.monotonic() + START_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        try:
            service.health()
        except Unreachable:
            time.sleep(LOOK_SECONDS)
            continue
        service.close()
        bind, url = settings.http_bind, settings.http_url
        where = url if url.endswith(f"/{bind}") else f"{bind}, here {url}"
        click.echo(f"The downloader listens on {where} (data in {settings.data_dir}). Ctrl-C ends it.")
        return


def _end(child: "subprocess.Popen[bytes]", patience: float) -> None:
    """Drain ``child``; kill it when it takes longer than ``patience`` seconds (its workers see their lifelines end)."""
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(patience)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _check_folder(settings: Settings) -> None:
    """Make DATA_DIR. Raises Refused when that cannot be, or it cannot be written to."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise setting.Refused(f"DATA_DIR {settings.data_dir} cannot be made: {error.strerror}.") from error
    if not os.access(settings.data_dir, os.W_OK | os.X_OK):
        raise setting.Refused(f"DATA_DIR {settings.data_dir} cannot be written to by this user.")


def _check_port(settings: Settings) -> None:
    """Fail now and clearly instead of restarting the frontend again and again. Raises Refused."""
    host, port = settings.http_listen
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise setting.Refused(
                f"{settings.http_bind} cannot be listened on: {error.strerror}. {_advice(settings, error)}"
            ) from error


def _advice(settings: Settings, error: OSError) -> str:
    """What to do when the address to listen on cannot be had."""
    variable = "HTTP_ADDR" if settings.http_addr[1] else "HTTP_PORT"
    if error.errno == errno.EADDRINUSE:
        return f"Does another downloader run? Set {variable} to a free port."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Ports below 1024 are for root: set {variable} to a higher one."
    return "Set HTTP_ADDR to an address of this machine, or to a port alone (:18093) for all of them."


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn the first SIGTERM or SIGINT into Stop and ignore the rest: the end is under way then."""

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise Stop

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
