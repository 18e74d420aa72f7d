"""One whole service and one stand-in for a module's tests."""

import pytest

from tests.service import Service, StandIn


@pytest.fixture(scope="session")
def standin(tmp_path_factory):
    made = StandIn(tmp_path_factory.getbasetemp().parent / "media")
    yield made
    made.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory, standin):
    """Two web processes, every pool, on private servers."""
    variables = {"WEB_WORKERS": "2", "MAX_CONCURRENT_WORKERS": "4"}
    with Service(tmp_path_factory.mktemp("service"), base=standin.base, variables=variables) as running:
        yield running
