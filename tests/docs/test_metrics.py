"""docs/operating.md names every metric, its labels and its alerts' metrics, and no other."""

import re

from prometheus_client.metrics_core import GaugeMetricFamily

from tests.packaging.test_documents import OPERATING, rows
from web.gauges import GAUGES

SECTION = OPERATING.partition("## Metrics")[2].partition("\n## ")[0]


def test_every_metric_is_described_and_no_other():
    described = [(row[0], tuple(row[1].split(", ")) if row[1] else ()) for row in rows(SECTION)]
    assert described[0] == ("Metric", ("Labels",))
    assert described[1:] == [(gauge.name, gauge.labels) for gauge in GAUGES]


def test_the_alerts_name_metrics_that_are_there():
    alerts = re.findall(r"^  expr: (.*)$", SECTION, re.MULTILINE)
    assert len(alerts) == 3
    assert {name for alert in alerts for name in re.findall(r"downloader_\w+", alert)} <= {
        gauge.name for gauge in GAUGES
    }


def test_names_are_what_prometheus_allows():
    for gauge in GAUGES:
        assert GaugeMetricFamily(gauge.name, gauge.says, labels=gauge.labels).name == gauge.name
        assert re.fullmatch(r"downloader(_[a-z]+)+", gauge.name)
