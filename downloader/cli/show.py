"""Progress and tables for a person: rich on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import click

WORDS = {
    "queued": "waiting",
    "extract": "looking",
    "download": "downloading",
    "mux": "putting together",
    "done": "done",
}


class Shown(Protocol):
    """Something that shows a job's way."""

    def job(self, job: dict[str, Any]) -> None:
        """The job has moved."""

    def saving(self, done: int, total: int) -> None:
        """The artifact is coming: bytes so far, bytes in all (0 when unknown)."""


class Nothing:
    """Shows nothing."""

    def job(self, job: dict[str, Any]) -> None:
        """Do nothing."""

    def saving(self, done: int, total: int) -> None:
        """Do nothing."""


class Lines:
    """One line a stage, for logs and pipes."""

    def __init__(self) -> None:
        self._last = ""

    def job(self, job: dict[str, Any]) -> None:
        """Print the stage when it changes."""
        self._say(WORDS.get(job["stage"], job["stage"]) if job["status"] != "failed" else "failed")

    def saving(self, done: int, total: int) -> None:
        """Say so once."""
        del done, total
        self._say("saving")

    def _say(self, word: str) -> None:
        if word != self._last:
            click.echo(word, err=True)
            self._last = word


class Bar:
    """A live bar with stage, percentage, bytes, speed and time left."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._task = progress.add_task("waiting", total=100.0, detail="")

    def job(self, job: dict[str, Any]) -> None:
        """Move the bar to where the service says the job is."""
        done, total = job.get("downloadedBytes", 0), job.get("totalBytes", 0)
        parts = [f"{_bytes(done)} of {_bytes(total)}" if total else ""]
        parts += [f"{_bytes(job['speedBytesPerSecond'])}/s"] if job.get("speedBytesPerSecond") else []
        parts += [f"{job['etaSeconds']} s left"] if job.get("etaSeconds") else []
        self._progress.update(
            self._task,
            description=WORDS.get(job["stage"], job["stage"]),
            completed=job.get("progressPercent", 0.0),
            detail="  ".join(filter(None, parts)),
        )

    def saving(self, done: int, total: int) -> None:
        """Move the bar by the bytes that came."""
        detail = f"{_bytes(done)} of {_bytes(total)}" if total else _bytes(done)
        self._progress.update(self._task, description="saving", completed=done, total=total or None, detail=detail)


@contextmanager
def progress(*, quiet: bool) -> Iterator[Shown]:
    """Something to show progress with: nothing, lines, or a bar on a terminal. All on standard error."""
    if quiet:
        yield Nothing()
    elif not sys.stderr.isatty():
        yield Lines()
    else:
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

        columns = ("{task.description}", BarColumn(), "{task.percentage:>3.0f}%", "{task.fields[detail]}")
        fields = [TextColumn(column) if isinstance(column, str) else column for column in columns]
        with Progress(*fields, console=Console(stderr=True), transient=True) as live:
            yield Bar(live)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: by rich on a terminal, with tabs elsewhere."""
    if not sys.stdout.isatty():
        for row in (headings, *rows):
            click.echo("\t".join(row))
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    found = Table(*headings, box=None, header_style="bold")
    for row in rows:
        found.add_row(*map(Text, row))
    Console().print(found)


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:  # noqa: PLR2004 - SI units
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
