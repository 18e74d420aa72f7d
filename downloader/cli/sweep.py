"""``downloader sweep``: what the janitor does every now and then, at once and by hand."""

import click

from downloader import logs
from downloader.cli import setting
from downloader.errors import DownloadError


@click.command(epilog="Example: downloader sweep --dry-run")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def sweep(*, dry_run: bool) -> None:
    """Remove work folders, expired artifacts and orphaned files that no job needs any more."""
    from downloader import artifacts  # noqa: PLC0415 - psycopg2 and boto3 are no part of a quick --help
    from downloader.clock import SystemClock  # noqa: PLC0415
    from downloader.store import Store  # noqa: PLC0415
    from downloader.sweep import Sweep  # noqa: PLC0415

    try:
        settings = setting.load()
        logs.configure(settings)
        store = Store(setting.database(settings), max_connections=1)
        files = artifacts.open_store(settings)
        try:
            gone = Sweep(settings, store, files, SystemClock(), dry_run=dry_run).everything()
        finally:
            files.close()
            store.close()
    except (setting.Refused, DownloadError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(
        f"{'Would remove' if dry_run else 'Removed'} {gone.work_folders} work folders,"
        f" {gone.expired} expired artifacts, orphans of {gone.orphans} jobs, {gone.parts} unfinished uploads:"
        f" {gone.bytes_freed} bytes."
    )
    if gone.failed:
        raise click.ClickException(f"{gone.failed} could not be removed: the log above says why.")
