"""How many connections one host gets, over all jobs of the process. Thread-safe.

A host starts with a full allowance, because a few connections more cost little and a slow start costs much. It shrinks
when the host says that it is too many (429, 503) or the throughput collapses, and grows back by one at a time.
"""

import threading
from collections import Counter
from dataclasses import dataclass, field

_RECOVER = 10.0  # seconds without a complaint before another connection is tried


@dataclass(slots=True)
class _Host:
    limit: float
    blamed_at: float = 0.0
    users: Counter[int] = field(default_factory=Counter)


class HostBudget:
    """``per_host`` connections at most to one ``host:port``. ``user`` is any number that stands for one job."""

    def __init__(self, per_host: int) -> None:
        self._per_host = per_host
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = {}

    def acquire(self, host: str, user: int, now: float) -> bool:
        """Take one connection, if there is one left and ``user`` does not hold more than its share already."""
        with self._lock:
            found = self._hosts.setdefault(host, _Host(float(self._per_host)))
            if found.limit < self._per_host and now - found.blamed_at > _RECOVER:
                found.limit, found.blamed_at = found.limit + 1, now
            used = found.users.total()
            share = max(1, int(found.limit) // max(1, len(found.users | Counter([user]))))
            if used >= int(found.limit) or found.users[user] >= share:
                return False
            found.users[user] += 1
            return True

    def release(self, host: str, user: int) -> None:
        """Give one connection back."""
        with self._lock:
            found = self._hosts[host]
            found.users[user] -= 1
            if found.users[user] <= 0:
                del found.users[user]
            if not found.users and found.limit >= self._per_host:
                del self._hosts[host]

    def blame(self, host: str, now: float) -> None:
        """The host complained: it gets one connection less than it has now."""
        with self._lock:
            found = self._hosts.get(host)
            if found is not None:
                found.limit = max(1.0, min(found.limit, found.users.total()))
                found.blamed_at = now

    def limit(self, host: str) -> int:
        """What the host gets at the moment."""
        with self._lock:
            found = self._hosts.get(host)
            return self._per_host if found is None else int(found.limit)
