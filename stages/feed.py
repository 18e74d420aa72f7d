"""Live progress out of a stage process: at most four times a second per job, all jobs in one round trip."""

import threading
from collections import deque

import structlog

from downloader.broker import Broker
from downloader.clock import Clock
from downloader.errors import BrokerUnavailable
from downloader.job import Progress
from downloader.route import ROUTE, percent_window
from downloader.states import Stage
from stages.beats import Beats
from stages.duty import keep
from stages.held import Held

TICK_SECONDS = 0.25
_WINDOW_SECONDS = 4.0
_SMOOTHING = 0.3

log = structlog.get_logger()


class Meter:
    """Speed over a sliding window and an ETA that does not jump, from (time, bytes) samples."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()
        self._smooth = 0.0

    def add(self, now: float, done: int) -> None:
        """Note that ``done`` bytes were there at ``now`` (seconds). Falling counts start anew."""
        if self._samples and done < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now, done))
        while now - self._samples[0][0] > _WINDOW_SECONDS:
            self._samples.popleft()
        speed = self.speed
        self._smooth = self._smooth + _SMOOTHING * (speed - self._smooth) if self._smooth and speed else speed

    @property
    def moving(self) -> bool:
        """Whether the last samples showed any speed."""
        return bool(self._samples) and self.speed > 0

    @property
    def speed(self) -> float:
        """Bytes per second over the window; 0 until there are two samples."""
        (first, start), (last, end) = self._samples[0], self._samples[-1]
        return (end - start) / (last - first) if last > first else 0.0

    def eta(self, left: int) -> int | None:
        """Seconds until ``left`` bytes are there, or None when nobody can know."""
        return round(left / self._smooth) if self._smooth > 0 and left >= 0 else None


class Feed:
    """Publishes what the held steps of this process say of themselves."""

    def __init__(self, beats: Beats, broker: Broker, clock: Clock) -> None:
        self._beats = beats
        self._broker = broker
        self._clock = clock
        self._told: dict[tuple[str, str, int], tuple[Meter, int, float]] = {}

    def run(self, stop: threading.Event) -> None:
        """Publish until ``stop`` is set."""
        keep(self.run_once, stop, TICK_SECONDS)

    def run_once(self) -> None:
        """Publish what changed since the last time."""
        held = {item.claim.key: item for item in self._beats.all()}
        self._told = {key: told for key, told in self._told.items() if key in held}
        news = {}
        for key, item in held.items():
            meter, before, floor = self._told.get(key) or self._first(item)
            # A transfer that stands still is told of until its speed has come down to nothing.
            told = item.total > 0 or item.done > 0  # a length may be unknown to the end
            if told and (item.done != before or meter.moving) and self._beats.trusted(item):
                progress = self._progress(item, meter, floor)
                news[item.claim.job.id] = progress
                before, floor = item.done, progress.progress_percent
            self._told[key] = (meter, before, floor)
        if news:
            try:
                self._broker.publish(news)
            except BrokerUnavailable as error:
                log.debug("progress_unpublished", error=error.message)

    def _first(self, item: Held) -> tuple[Meter, int, float]:
        """A new meter; percent never falls, so what an earlier attempt told is the floor."""
        floor = item.claim.job.progress_percent
        if item.claim.attempts > 1 and (snapshot := self._broker.snapshot(item.claim.job.id)):
            floor = max(floor, snapshot.progress_percent)
        return Meter(), -1, floor

    def _progress(self, item: Held, meter: Meter, floor: float) -> Progress:
        done, total = item.done, max(item.total, item.done) if item.total > 0 else 0
        meter.add(self._clock.monotonic(), done)
        start, end = percent_window(item.claim.name)
        percent = max(floor, round(start + (end - start) * (done / total if total else 0.0), 1))
        job, public = item.claim.job, ROUTE[item.claim.name].public
        # Clients show bytes as downloaded ones: later stages leave them as the download left them.
        loading = public is Stage.DOWNLOAD
        return Progress(
            stage=public,
            progress_percent=percent,
            downloaded_bytes=done if loading else job.downloaded_bytes,
            total_bytes=total if loading else job.total_bytes,
            speed_bytes_per_second=int(meter.speed),
            eta_seconds=meter.eta(total - done) if total else None,
            step=item.claim.name,
            epoch=item.claim.epoch,
        )
