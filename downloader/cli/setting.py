"""What every command begins with: the settings, and where Postgres is."""

from pathlib import Path

import structlog

from downloader import config, logs
from downloader.config import Settings
from downloader.embedded import running_dsn, running_url
from downloader.errors import StoreUnavailable

DATABASE_VARIABLES = "DATABASE_URL (or DB_URL, DB_USER, DB_PASSWORD)"

log = structlog.get_logger()


class Refused(Exception):
    """The command cannot do what it was asked to; the message is for the person who typed it."""


def load() -> Settings:
    """The settings; raises Refused naming every variable that does not parse."""
    try:
        return config.load()
    except config.ConfigError as error:
        raise Refused(str(error)) from error


def start() -> Settings:
    """The settings of what runs for long, with logs to standard error; a name that is nearly ours is logged."""
    settings = load()
    logs.configure(settings)
    for name, meant in config.mistaken():
        log.warning("unknown_variable", name=name, meant=meant)
    return settings


def database(settings: Settings) -> str:
    """The DSN that is set, or that of the private Postgres of a running ``downloader up``. Raises Refused."""
    found = settings.database_location or running_dsn(private_folder(settings) / "postgres")
    if not found:
        raise Refused(
            f"No DATABASE_URL is set and no `downloader up` runs on {settings.data_dir}: "
            "set DATABASE_URL, or DATA_DIR to the folder that the service uses."
        )
    return found


def blamed(settings: Settings, error: StoreUnavailable) -> str:
    """What ``error`` says, with the variables that lead to that Postgres where it is not a private one."""
    return f"{DATABASE_VARIABLES}: {error}" if settings.database_location else str(error)


def redis(settings: Settings) -> str:
    """The URL that is set, or that of the private Valkey of a running ``downloader up``; empty without either."""
    return settings.redis_location or running_url(private_folder(settings) / "valkey")


def private_folder(settings: Settings) -> Path:
    """Where the private servers of ``downloader up`` live."""
    return settings.data_dir / "private"
