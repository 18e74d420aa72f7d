import pytest

from downloader.job import Options
from downloader.store import NewJob, Store


@pytest.fixture
def store(database_url):
    made = Store(database_url)
    yield made
    made.close()


def new(key="k1", **kwargs):
    return NewJob(url="https://example.test/v", options=Options(), cache_key=key, **kwargs)
