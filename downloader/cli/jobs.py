"""``downloader jobs``: list, show, cancel and retry."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import click

from downloader.cli import client, setting, show
from downloader.cli.client import Refused, Service, Unreachable
from downloader.errors import DownloadError, StoreUnavailable
from downloader.states import Status

if TYPE_CHECKING:
    from downloader.broker import Broker
    from downloader.config import Settings
    from downloader.store import Store

server_option = client.server_option("The service to ask.")

EPILOG = """\b
Examples:
  downloader jobs list --status running
  downloader jobs show 5f0c…
  downloader jobs cancel 5f0c…
  downloader jobs retry 5f0c…
"""


@click.group(epilog=EPILOG)
def jobs() -> None:
    """List, show, cancel and retry jobs.

    `list` and `retry` go to Postgres themselves; the others ask the running service.
    """


@jobs.command("list", epilog="Example: downloader jobs list --limit 5 --status failed")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, newest first.")
@click.option("--status", type=click.Choice([status.value for status in Status]), help="Only these.")
def list_(limit: int, status: str | None) -> None:
    """Print the newest jobs and, on standard error, a line for each stage's queue."""
    from downloader import queues  # noqa: PLC0415 - psycopg2 is no part of a quick --help

    try:
        with _opened() as (_, store, _broker):
            found, waiting = store.list_jobs(limit, status or ""), queues.read(store)
    except StoreUnavailable as error:
        raise click.ClickException(str(error)) from error
    rows = [
        (
            job.id,
            job.status.value,
            job.error_code or "",
            job.stage.value,
            f"{job.progress_percent:.0f}%",
            _when(job.queued_at),
            job.title or job.url,
        )
        for job in found
    ]
    show.table(("id", "status", "error", "stage", "progress", "queued", "title"), rows)
    for stage, queue in waiting.stages.items():
        click.echo(f"{stage}: {queue}", err=True)
    for trouble in filter(None, (*waiting.troubles(), waiting.janitor_trouble)):
        click.echo(f"WRONG {trouble}", err=True)


@jobs.command("show", epilog="Example: downloader jobs show 5f0c…")
@click.argument("job_id")
@server_option
def show_(job_id: str, server: str) -> None:
    """Print everything about a job, as JSON."""
    try:
        found = Service(server).job(job_id)
    except (Refused, Unreachable) as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps(found, indent=2, ensure_ascii=False))


@jobs.command("cancel", epilog="Example: downloader jobs cancel 5f0c…")
@click.argument("job_ids", metavar="JOB_ID...", nargs=-1, required=True)
@server_option
def cancel(job_ids: tuple[str, ...], server: str) -> None:
    """Cancel jobs."""
    service = Service(server)
    failed = False
    for job_id in job_ids:
        try:
            service.cancel(job_id)
            click.echo(f"{job_id} cancelled")
        except (Refused, Unreachable) as error:
            click.echo(f"{job_id} {error}", err=True)
            failed = True
    if failed:
        raise click.exceptions.Exit(1)


@jobs.command("retry", epilog="Example: downloader jobs retry 5f0c…")
@click.argument("job_ids", metavar="JOB_ID...", nargs=-1, required=True)
def retry(job_ids: tuple[str, ...]) -> None:
    """Run failed or cancelled jobs again, each from the first step whose outputs no longer stand.

    An Authorization header that a job was posted with was wiped when it ended: post a job that needs one anew.
    """
    began = failed = False
    with _opened() as (settings, store, broker):
        for job_id in job_ids:
            try:
                click.echo(f"{job_id} {_run_again(settings, store, broker, job_id)}")
                began = True
            except (setting.Refused, DownloadError) as error:
                click.echo(f"{job_id} {error}", err=True)
                failed = True
    if began:
        click.echo("An Authorization header is wiped when a job ends: one that needs it may fail again.", err=True)
    if failed:
        raise click.exceptions.Exit(1)


def _run_again(settings: "Settings", store: "Store", broker: "Broker | None", job_id: str) -> str:
    """Run the job again; what was done. Raises Refused, DownloadError."""
    from downloader.again import run_again  # noqa: PLC0415 - as above

    job = store.job(job_id)
    if job is None:
        raise setting.Refused("There is no such job.")
    return f"runs again from {' and '.join(run_again(store, broker, job, settings.jobs_dir / job.id).ready)}"


@contextmanager
def _opened() -> Iterator[tuple["Settings", "Store", "Broker | None"]]:
    """The settings, Postgres, and Redis if it is known where that is; what is wrong ends the command."""
    from downloader import logs  # noqa: PLC0415 - none of these is part of a quick --help
    from downloader.broker import Broker  # noqa: PLC0415
    from downloader.store import Store  # noqa: PLC0415

    try:
        settings = setting.load()
        logs.configure(settings)
        store = Store(setting.database(settings), max_connections=1)
    except setting.Refused as error:
        raise click.ClickException(str(error)) from error
    url = setting.redis(settings)
    broker = Broker(url, settings.redis_queue_key) if url else None
    try:
        yield settings, store, broker
    finally:
        store.close()
        if broker is not None:
            broker.close()


def _when(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
