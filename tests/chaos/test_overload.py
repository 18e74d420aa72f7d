"""A few hundred posts at once, as bench/overload.py does it with ten thousand; without its timed goals."""

from bench import overload
from downloader.route import ROUTE, stage_names
from tests.service import Service, StandIn

JOBS = 300
GROWTH_MB = 16.0


def test_a_crowd_of_posts_is_worked_off_in_order_and_in_sight(tmp_path, tmp_path_factory):
    standin = StandIn(tmp_path_factory.getbasetemp().parent / "media")
    variables = {"MAX_QUEUE_SIZE": "10000", "MAX_CONCURRENT_WORKERS": "4", "WEB_WORKERS": "2"}
    try:
        with Service(tmp_path, base=standin.base, variables=variables) as service:
            found = overload.run(service, standin, JOBS)
            failed = service.rows("SELECT count(*) AS n FROM downloader_jobs WHERE status <> 'done'")[0]["n"]
    finally:
        standin.close()
    assert (found.done, found.not_done, failed) == (JOBS, 0, 0)
    assert set(found.inversions) == set(ROUTE)
    assert max(found.inversions.values()) <= overload.GOAL_INVERSION, found.inversions
    growth = {name: max(sizes) - sizes[0] for name, sizes in found.memory.items()}
    assert max(growth.values()) <= GROWTH_MB, growth
    assert set(found.deepest) == set(stage_names())
    assert max(found.deepest.values()) > 10, found.deepest
    assert max(found.oldest.values()) > 0
    for stage in stage_names():
        assert f"{stage}: " in found.listed
    assert found.get_ms
    assert found.post_ms
