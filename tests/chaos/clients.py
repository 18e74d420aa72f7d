"""Real clients: they post, watch, poll, cancel and delete, and remember what they asked for."""

import hashlib
import io
import random
import threading
import time
from dataclasses import dataclass
from typing import Any

import av
import urllib3

from tests.e2e.watching import events
from tests.service import Service, StandIn

SOURCES = (
    "short",
    "short",
    "small",
    "dual",
    "webm",
    "sound",
    "hls",
    "sabr",
    "lengthless",
    "refused",
    "flaky",
    "missing",
)
_THREADS = 8
WAITS = (0.1, 0.2, 0.5, 1.0, 2.0)


@dataclass
class Asked:
    """One job as its client knows it."""

    source: str
    job_id: str
    cancelled: bool = False
    deleted: bool = False
    percents: tuple[float, ...] = ()


class Clients:
    """Eight clients on threads; ``asked`` is everything that was accepted. ``pace``: seconds from post to post."""

    def __init__(self, service: Service, standin: StandIn, seed: int, jobs: int, pace: float = 0.0) -> None:
        self._service = service
        self._standin = standin
        self._jobs = iter(range(jobs))
        self._lock = threading.Lock()
        self._seed = seed
        self._pace = pace
        self._started = time.monotonic()
        self.asked: list[Asked] = []
        self.refused = 0

    def run(self) -> None:
        """Post all jobs and follow each to its end."""
        threads = [threading.Thread(target=self._client, args=(number,)) for number in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, number: int) -> None:
        choice = random.Random(self._seed * 1000 + number)
        while True:
            with self._lock:
                n = next(self._jobs, None)
            if n is None:
                return
            time.sleep(max(0.0, self._started + n * self._pace - time.monotonic()))
            source = choice.choice(SOURCES)
            asked = Asked(source, self._post(self._standin.source(source, n=n)))
            with self._lock:
                self.asked.append(asked)
            if choice.random() < 0.1:
                time.sleep(choice.random() * 0.4)
                asked.cancelled = self._cancel(asked.job_id)
            self._follow(asked, watch=choice.random() < 0.5)
            if choice.random() < 0.05:
                asked.deleted = self._try("DELETE", f"/jobs/{asked.job_id}").status == 204

    def _post(self, url: str) -> str:
        """Post until it is accepted: a client of ours may not know whether a 503 was taken, an equal post finds out."""
        return str(self._try("POST", "/jobs", expect=201, json={"url": url}).json()["id"])

    def _cancel(self, job_id: str) -> bool:
        return self._try("POST", f"/jobs/{job_id}/cancel").status == 202

    def _follow(self, asked: Asked, *, watch: bool) -> None:
        if watch:
            try:
                told = [event.data for event in events(f"{self._service.url}/jobs/{asked.job_id}/events", 20)]
                asked.percents = tuple(data.get("progressPercent", 0) for data in told)
            except (urllib3.exceptions.HTTPError, AssertionError, OSError):
                pass  # as a browser does that never reconnects: the polls beside it go on
        while self._try("GET", f"/jobs/{asked.job_id}", expect=200).json()["status"] not in ("done", "failed"):
            time.sleep(0.2)

    def _try(self, method: str, path: str, expect: int | None = None, **kwargs: Any) -> urllib3.BaseHTTPResponse:
        """Ask until the service is there and answers (as ``expect`` says); a minute of refusals is a failure."""
        deadline = time.monotonic() + 120
        attempt = 0
        while time.monotonic() < deadline:
            try:
                answer = self._service.request(method, path, **kwargs)
                if answer.status == expect or (expect is None and answer.status < 500):
                    return answer
            except urllib3.exceptions.HTTPError:
                pass
            self.refused += 1
            time.sleep(WAITS[min(attempt, len(WAITS) - 1)])
            attempt += 1
        raise AssertionError(f"{method} {path} was refused for two minutes")


def packets(data: bytes) -> str:
    """A digest of every packet of a file: equal for equal media, however it was put together."""
    digest = hashlib.sha256()
    with av.open(io.BytesIO(data)) as media:
        for packet in media.demux():
            if packet.size and packet.stream.type in ("video", "audio"):
                digest.update(b"%d %d " % (packet.stream_index, packet.pts or 0) + bytes(packet))
    return digest.hexdigest()
