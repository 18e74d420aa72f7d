"""What is counted over all jobs, and that no table is read for it."""

from downloader.store import Census
from downloader.store.statements import named
from tests.store.conftest import new


def test_nothing_is_counted_in_an_empty_database(store):
    assert store.census() == Census({}, {}, {}, 0, 0)


def test_a_cancelled_job_and_a_queued_one(store):
    store.post(new("k1"), limit=9)
    store.cancel(store.post(new("k2"), limit=9).id)
    assert store.census() == Census(
        jobs={"queued": 1, "failed": 1}, failed={"cancelled": 1},
        waiting={"fetch": 1, "mux": 1, "publish": 1}, reserved=0, callbacks=0,
    )  # fmt: skip


def test_it_reads_indexes_alone_but_for_what_is_unfinished(store):
    store.db.rows(
        "INSERT INTO downloader_jobs (id, cache_key, url, status, options, queued_at, finished_at)"
        " SELECT n, n, repeat('x', 200), 'done', '{}', now(), now() FROM generate_series(1, 2000) n"
    )
    store.db.rows("VACUUM ANALYZE downloader_jobs")
    lines = [row["QUERY PLAN"] for row in store.db.rows(f"EXPLAIN {named('census.sql')['census']}")]
    scans = [line for line in lines if "Scan" in line]
    assert not [line for line in scans if "Seq Scan on downloader_" in line and "reservations" not in line], lines
    assert any("Index Only Scan using downloader_jobs_ended" in line for line in scans), lines


def test_no_other_statement_uses_the_index_for_counting(store):
    ended = [row["QUERY PLAN"] for row in store.db.rows("EXPLAIN SELECT id FROM downloader_jobs WHERE status = 'done'")]
    assert not [line for line in ended if "downloader_jobs_ended" in line]
