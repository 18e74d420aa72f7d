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


def fence_key(prefix: str, job_id: str) -> str:
    """The key of the newest epochs of a job's steps, by step: those that were claimed more than once."""
    return f"{prefix}:fence:{job_id}"


CHANGED = '{"type":"changed","data":{}}'

# Keys: fence, snapshot. Arguments: step, epoch, seconds to live, snapshot, channel, message. 0 when the claim is stale.
PUBLISH = """
local epoch = tonumber(ARGV[2])
if tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0) > epoch then return 0 end
if epoch > 1 then
    redis.call('HSET', KEYS[1], ARGV[1], epoch)
    redis.call('EXPIRE', KEYS[1], ARGV[3])
end
redis.call('SET', KEYS[2], ARGV[4], 'EX', ARGV[3])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1
"""

# Keys: fence. Arguments: step, epoch, seconds to live. An epoch only ever rises.
FENCE = """
if tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0) < tonumber(ARGV[2]) then
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return redis.call('EXPIRE', KEYS[1], ARGV[3])
"""
