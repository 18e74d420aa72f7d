"""Postgres killed whole, as when its machine dies: what fences workers must not be lost with it."""

import os
import signal
from contextlib import suppress

import pytest

from downloader.embedded import Servers
from downloader.errors import StoreUnavailable
from downloader.route import ROUTE
from downloader.states import StepState
from downloader.store import Store, migrate
from tests.chaos.faults import descendants
from tests.store.conftest import new
from tests.waiting import ended, until


@pytest.fixture
def servers(tmp_path):
    made = Servers(tmp_path, with_valkey=False)
    made.start()
    yield made
    made.stop()


def test_no_epoch_is_given_twice(servers):
    migrate(servers.database_url)
    store = Store(servers.database_url)
    (entry,) = store.post(new(), limit=10).ready
    first = store.claim(entry, "a/0", 15, ROUTE["resolve"])
    crash(servers)
    outcome = until(lambda: asked(store, entry))
    assert (outcome.state, outcome.epoch) == (StepState.RUNNING, first.epoch)
    assert store.claim(entry, "b/0", 15, ROUTE["resolve"]) is None
    store.close()


def crash(servers):
    """SIGKILL to the postmaster and every process of it, at once; its keeper starts it again."""
    postmaster = servers.postgres.server_pid()
    doomed = [postmaster, *descendants(postmaster)]
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    assert all(ended(pid) for pid in doomed)


def asked(store, entry):
    with suppress(StoreUnavailable):
        return store.outcome(entry)
    return None
