"""Live progress over Redis: one channel and one snapshot per job, in flask-sse's message format.

A message is ``{"type": "progress", "data": <Progress>}`` or ``{"type": "changed", "data": {}}``: read the row again.
"""

import msgspec

from downloader.job import Progress


class Message(msgspec.Struct, frozen=True):
    """What is published on a job's channel."""

    type: str
    data: Progress | None = None


def channel(prefix: str, job_id: str) -> str:
    """The channel of a job."""
    return f"{prefix}:sse:{job_id}"


def snapshot_key(prefix: str, job_id: str) -> str:
    """The key of a job's latest progress."""
    return f"{prefix}:job:{job_id}"


def progress_message(progress: Progress) -> str:
    """A message that carries progress."""
    return msgspec.json.encode({"type": "progress", "data": progress}).decode()


CHANGED = '{"type":"changed","data":{}}'
