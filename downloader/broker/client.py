"""One way to reach Redis: short time-outs, no hidden retries, our errors instead of redis-py's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from downloader.errors import BrokerUnavailable


def connect(url: str, *, timeout: float) -> Any:
    """A client whose every answer must come within ``timeout`` seconds.

    RESP2 is what Redis 6.2, Valkey and Dragonfly all speak. redis-py's own retries are off: a blocking read would
    otherwise hang for up to a minute, and whoever calls us knows better what to do meanwhile.
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=min(timeout, 3.0),
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        decode_responses=True,
    )


@contextmanager
def translated() -> Iterator[None]:
    """Turn redis-py's errors into BrokerUnavailable."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise BrokerUnavailable(f"Redis cannot be used: {error}") from error
