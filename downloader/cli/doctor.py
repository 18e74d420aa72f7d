"""``downloader doctor``: every part, whether it is well, and what to do when it is not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click
import psycopg2
import urllib3

from downloader import artifacts, config, disk, queues
from downloader.broker.client import connect, translated
from downloader.cli import client, setting, show
from downloader.cli.client import Refused, Service, Unreachable
from downloader.config import Settings
from downloader.errors import DownloadError, EngineCrashed, StoreUnavailable
from downloader.mux.engine import Engine
from downloader.store import Store, pending

PATIENCE_SECONDS = 5.0


class Ill(Exception):
    """The part is not well; ``advice`` is what to do."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.advice = advice


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer; ``advice`` is empty when all is well. What is ``doubtful`` may be well."""

    part: str
    detail: str
    advice: str = ""
    doubtful: bool = False

    @property
    def state(self) -> str:
        """The word for it."""
        return "WRONG" if self.advice else "doubtful" if self.doubtful else "ok"


@click.command(epilog="Example: downloader doctor --server http://127.0.0.1:18093")
@client.server_option("The running service.")
def doctor(server: str) -> None:
    """Check every part and say what to do. Exits with 1 when something is wrong. Changes nothing."""
    try:
        settings = setting.load()
    except setting.Refused as error:
        raise click.ClickException(
            f"The configuration is wrong: {error}. docs/operating.md lists the variables."
        ) from error
    findings = list(examine(settings, server))
    show.table(
        ("part", "state", "detail"),
        [(found.part, found.state, found.detail) for found in findings],
    )
    for found in findings:
        if found.advice:
            click.echo(f"{found.part}: {found.advice}", err=True)
    if any(found.advice for found in findings):
        raise click.exceptions.Exit(1)


def examine(settings: Settings, server: str) -> Iterator[Finding]:
    """What each part says, one after the other."""
    checks: dict[str, Callable[[], str]] = {
        "postgres": lambda: _postgres(settings),
        "redis": lambda: _redis(settings),
        "storage": lambda: _storage(settings),
        "disk": lambda: _disk(settings),
        "typetype-server": lambda: _typetype(settings),
        "muxer": _muxer,
        "queues": lambda: _queues(settings),
        "service": lambda: _service(server),
    }
    yield _configuration()
    for part, check in checks.items():
        try:
            yield Finding(part, check())
        except Ill as found:
            yield Finding(part, str(found), found.advice)


def _configuration() -> Finding:
    """The variables parse, or we would not be here; one that is nearly ours may be another's, so it is no fault."""
    doubts = [f"{name} is not known; {meant} is" for name, meant in config.mistaken()]
    return Finding("configuration", "; ".join(["every variable parses", *doubts]), doubtful=bool(doubts))


def _postgres(settings: Settings) -> str:
    try:
        connection = psycopg2.connect(setting.database(settings), connect_timeout=int(PATIENCE_SECONDS))
    except setting.Refused:
        return "private: `downloader up` starts it"
    except psycopg2.OperationalError as error:
        raise Ill(str(error).strip(), f"Check {setting.DATABASE_VARIABLES} and that Postgres runs.") from error
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('downloader_migrations')")
            known: set[str] = set()
            if cursor.fetchone() != (None,):
                cursor.execute("SELECT name FROM downloader_migrations")
                known = {name for (name,) in cursor.fetchall()}
    finally:
        connection.close()
    version = f"Postgres {connection.server_version // 10000}"
    if missing := pending(known):
        raise Ill(f"{version}, {len(missing)} migrations are missing", "Run `downloader migrate`.")
    return f"{version}, up to date"


def _redis(settings: Settings) -> str:
    location = setting.redis(settings)
    if not location:
        return "private: `downloader up` starts it"
    client = connect(location, timeout=PATIENCE_SECONDS)
    try:
        with translated():
            client.ping()
            server = client.info("server")
    except DownloadError as error:
        raise Ill(str(error), "Check REDIS_URL or REDIS_HOST and REDIS_PORT, and that the server runs.") from error
    finally:
        client.close()
    return f"answers as {server.get('server_name', 'redis')} {server.get('redis_version', '')}".strip()


def _storage(settings: Settings) -> str:
    files = None
    try:
        files = artifacts.open_store(settings)
        files.health()
    except (DownloadError, OSError) as error:
        advice = (
            "Check S3_ENDPOINT, S3_BUCKET, S3_ACCESS_KEY and S3_SECRET_KEY."
            if settings.storage == "s3"
            else f"Make {settings.data_dir} writable for this user, or set DATA_DIR."
        )
        raise Ill(str(error), advice) from error
    finally:
        if files is not None:
            files.close()
    where = settings.s3_bucket if settings.storage == "s3" else settings.artifacts_dir
    return f"{settings.storage}: {where} takes files"


def _disk(settings: Settings) -> str:
    space = disk.free(settings.data_dir)
    required = disk.minimum(settings, space)
    detail = f"{space.free >> 20} MiB free, {required >> 20} MiB must stay free"
    if space.free < required:
        raise Ill(detail, "Free some space, or lower STORAGE_MIN_FREE_BYTES and STORAGE_MIN_FREE_PERCENT.")
    return detail


def _typetype(settings: Settings) -> str:
    pool = urllib3.PoolManager(retries=False, timeout=PATIENCE_SECONDS)
    try:
        status = pool.request("GET", f"{settings.typetype_api_base}/health", redirect=False).status
    except urllib3.exceptions.HTTPError as error:
        raise Ill(
            f"{settings.typetype_api_base} does not answer", "Check TYPETYPE_API_BASE and that TypeType-Server runs."
        ) from error
    finally:
        pool.clear()
    return f"{settings.typetype_api_base} answers ({status})"


def _muxer() -> str:
    """Which walls stand around the muxer here; one that the machine does not offer is named, and no fault."""
    engine = Engine()
    try:
        walls = engine.walls()
    except EngineCrashed as error:
        raise Ill(
            error.message, "See the log of `downloader stage mux`; `pip check` finds a broken installation."
        ) from error
    finally:
        engine.close()
    return "; ".join(f"{wall} {state}" for wall, state in walls.items())


def _queues(settings: Settings) -> str:
    try:
        store = Store(setting.database(settings), max_connections=1)
    except setting.Refused:
        return "none: `downloader up` does not run"
    try:
        read = queues.read(store)
    except StoreUnavailable as error:
        raise Ill("cannot be read", "See postgres.") from error
    finally:
        store.close()
    if troubles := "; ".join(filter(None, (*read.troubles(), read.janitor_trouble))):
        raise Ill(troubles, "Start what is missing: `downloader stage NAME`, or everything with `downloader up`.")
    return "; ".join(f"{stage}: {queue}" for stage, queue in read.stages.items())


def _service(server: str) -> str:
    try:
        found = Service(server, timeout=PATIENCE_SECONDS).deep_health()
    except (Unreachable, Refused) as error:
        raise Ill(f"nothing answers on {server}", "Start it with `downloader up`, or name it with --server.") from error
    checks = ", ".join(f"{name} {state}" for name, state in found.get("checks", {}).items())
    workers = ", ".join(f"{stage} {count}" for stage, count in found.get("workers", {}).items())
    detail = f"{checks}; slots: {workers or 'none'}"
    if found.get("status") != "ok":
        raise Ill(detail, "See the parts that are not ok above, and the service's log.")
    return detail
