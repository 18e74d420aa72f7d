"""How Postgres finds rows for what every job asks: by an index, also when the plan is made while the tables are empty."""

import re

import pytest

from downloader.store import Store
from downloader.store.statements import named

VALUES = {
    "ids": ["a"],
    "job_ids": ["a"],
    "names": ["a"],
    "epochs": [1],
    "expired_only": False,
    "steps": "[]",
    "warnings": "[]",
    "timing": "",
}
HOT = [
    (file, name, number)
    for file in ("jobs.sql", "steps.sql")
    for name, statement in named(file).items()
    if statement.prepare
    for number, part in enumerate(statement.split(";"))
    if "FROM downloader_" in part or "UPDATE downloader_" in part
]


@pytest.mark.parametrize(("file", "name", "number"), HOT, ids=str)
def test_no_table_is_read_from_end_to_end(database_url, file, name, number):
    part = named(file)[name].split(";")[number]
    values = {key: VALUES.get(key) for key in re.findall(r"%\((\w+)\)s", part)}
    store = Store(database_url)
    lines = [row["QUERY PLAN"] for row in store.db.rows(f"EXPLAIN {part}", values)]
    store.close()
    assert not [line for line in lines if "Seq Scan on downloader_" in line]
    # What runs is little: that index may be read whole.
    scans = [line for line in lines if "Index" in line and " using " in line and "downloader_steps_running" not in line]
    conditions = [line for line in lines if "Index Cond" in line]
    assert len(conditions) >= len(scans), lines
