"""docs/operating.md explains events that the code really logs."""

import re

from tests.packaging.test_documents import OPERATING, ROOT, rows

SECTION = OPERATING.partition("## What the log says")[2].partition("\n## ")[0]
CODE = "".join(path.read_text() for folder in ("stages", "downloader") for path in (ROOT / folder).rglob("*.py"))


def test_every_event_that_is_explained_is_logged():
    events = {event for row in rows(SECTION) for event in row[0].split(", ")} - {"Event"}
    assert len(events) > 15
    assert events <= set(re.findall(r'log\.[a-z]+\(\s*"([a-z_]+)"', CODE))
