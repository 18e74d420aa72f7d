"""A reading as Prometheus takes it, and no more readings than one a second however many ask."""

from collections.abc import Callable, Iterator
from typing import Final

from gevent.lock import BoundedSemaphore
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from downloader.clock import Clock
from web.gauges import GAUGES
from web.reading import Reading

KEEP_SECONDS: Final = 1.0


class Exposition:
    """The text of /metrics over ``read``; one greenlet reads at a time, the others wait for what it finds."""

    def __init__(self, read: Callable[[], Reading], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._reading = BoundedSemaphore()
        self._until = 0.0
        self._text = b""

    def text(self) -> bytes:
        """All gauges, at most KEEP_SECONDS old."""
        with self._reading:
            if not self._text or self._clock.monotonic() >= self._until:
                self._text = render(self._read())
                self._until = self._clock.monotonic() + KEEP_SECONDS
            return self._text


def render(reading: Reading) -> bytes:
    """Every gauge in the text format 0.0.4; those that cannot be known have no samples."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gauges(reading))
    return generate_latest(registry)


class _Gauges(Collector):
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for gauge in GAUGES:
            family = GaugeMetricFamily(gauge.name, gauge.says, labels=gauge.labels)
            for labels, value in gauge.values(self._reading).items():
                family.add_metric(labels, value)
            yield family
