"""Folders named by job ids, under one root: listing, measuring and removing them."""

import os
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from downloader import disk
from downloader.artifacts.files import freed_by
from downloader.artifacts.port import JOB_ID, Select, Swept

BATCH: Final = 500
"""Job ids that are looked up in the database at once."""


def sweep_folders(root: Path, keep: Select, *, dry_run: bool = False) -> Swept:
    """Remove each folder ``root/<job id>`` that ``keep`` does not name; raises errors of ours.

    Serves work folders and local artifacts alike. ``keep`` is asked after listing: a job's row is older than its files.
    """
    jobs = freed = 0
    for ids in batches(job_ids(root)):
        kept = set(keep(ids))
        for job_id in ids:
            if job_id not in kept:
                freed += remove(root / job_id, dry_run=dry_run)
                jobs += 1
    return Swept(jobs=jobs, bytes_freed=freed)


def job_ids(root: Path) -> Iterator[str]:
    """The ids of all jobs that have a folder in ``root``; none when there is no root."""
    try:
        with os.scandir(root) as entries:
            yield from [
                entry.name for entry in entries if JOB_ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            ]
    except FileNotFoundError:
        return
    except OSError as error:
        raise disk.failure(error, root) from error


def batches(ids: Iterator[str]) -> Iterator[list[str]]:
    """``ids`` in lists of at most BATCH."""
    while batch := list(islice(ids, BATCH)):
        yield batch


def remove(folder: Path, *, dry_run: bool = False) -> int:
    """Remove ``folder`` with all in it (following no link) and return the bytes freed; 0 when it was gone."""
    freed = sum(_sizes(folder))
    if not dry_run:
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise disk.failure(error, folder) from error
    return freed


def _sizes(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                yield freed_by(Path(parent, name).lstat())
            except FileNotFoundError:
                continue
