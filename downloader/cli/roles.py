"""``downloader web``, ``downloader stage`` and ``downloader migrate``: what compose.yaml starts one by one."""

import os
import sys
from typing import NoReturn

import click

from downloader.cli import setting
from downloader.errors import StoreUnavailable
from downloader.route import stage_names


@click.command(epilog="Example: WEB_WORKERS=2 downloader web")
def web() -> None:
    """Run the HTTP frontend alone."""
    _become("web")


@click.command(epilog="Example: downloader stage fetch --processes 2 --slots 4")
@click.argument("name", type=click.Choice([*stage_names(), "janitor"]))
@click.option("--processes", type=click.IntRange(1), help="Processes of the pool [by MAX_CONCURRENT_WORKERS].")
@click.option("--slots", type=click.IntRange(1), help="Jobs at once in each process.")
def stage(name: str, processes: int | None, slots: int | None) -> None:
    """Run the pool of one stage alone, or the janitor."""
    given = {"--processes": processes, "--slots": slots}
    _become("stages", name, *(word for option, n in given.items() if n for word in (option, str(n))))


@click.command(epilog="Example: DATABASE_URL=postgres://user:secret@db/typetype downloader migrate")
def migrate() -> None:
    """Bring the database up to date. Several may run at once; a database that is up to date is left alone."""
    from downloader import logs, store  # noqa: PLC0415 - psycopg2 is no part of a quick --help

    try:
        settings = setting.load()
        logs.configure(settings)
        dsn = setting.database(settings)
    except setting.Refused as error:
        raise click.ClickException(str(error)) from error
    try:
        applied = store.migrate(dsn)
    except StoreUnavailable as error:
        raise click.ClickException(setting.blamed(settings, error)) from error
    click.echo("\n".join(f"applied {name}" for name in applied) or "The database is up to date.")


def _become(*module: str) -> NoReturn:
    """Replace this process, so that signals reach the role itself."""
    try:
        setting.start()
    except setting.Refused as error:
        raise click.ClickException(str(error)) from error
    os.execv(sys.executable, [sys.executable, "-m", *module])  # noqa: S606 - no shell is wanted
