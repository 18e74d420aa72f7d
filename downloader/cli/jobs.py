"""``downloader jobs``: list, show and cancel."""

import json
from datetime import datetime

import click

from downloader.cli import setting, show
from downloader.cli.client import Refused, Service, Unreachable
from downloader.cli.get import SERVER
from downloader.errors import StoreUnavailable
from downloader.states import Status

server_option = click.option(
    "--server", envvar="DOWNLOADER_SERVER", default=SERVER, show_default=True, help="The service to ask."
)

EPILOG = """\b
Examples:
  downloader jobs list --status running
  downloader jobs show 5f0c…
  downloader jobs cancel 5f0c…
"""


@click.group(epilog=EPILOG)
def jobs() -> None:
    """List, show and cancel jobs. `list` reads Postgres itself; the others ask the running service."""


@jobs.command("list", epilog="Example: downloader jobs list --limit 5 --status failed")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, newest first.")
@click.option("--status", type=click.Choice([status.value for status in Status]), help="Only these.")
def list_(limit: int, status: str | None) -> None:
    """Print the newest jobs and, on standard error, a line for each stage's queue."""
    from downloader import queues  # noqa: PLC0415 - psycopg2 is no part of a quick --help
    from downloader.store import Store  # noqa: PLC0415

    try:
        store = Store(setting.database(setting.load()), max_connections=1)
        try:
            found, waiting = store.list_jobs(limit, status or ""), queues.read(store)
        finally:
            store.close()
    except (setting.Refused, StoreUnavailable) as error:
        raise click.ClickException(str(error)) from error
    rows = [
        (
            job.id,
            job.error_code or job.status.value,
            job.stage.value,
            f"{job.progress_percent:.0f}%",
            _when(job.queued_at),
            job.title or job.url,
        )
        for job in found
    ]
    show.table(("id", "status", "stage", "progress", "queued", "title"), rows)
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


def _when(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
