"""Real clients: they post, watch, poll, fetch, cancel and delete, and remember what they asked for and were told."""

import hashlib
import io
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import av
import urllib3

from tests.chaos.scene import Scene
from tests.e2e.watching import events

WAITS = (0.1, 0.2, 0.5, 1.0, 2.0)
POLL_SECONDS = 0.4
PATIENCE_SECONDS = 120.0

_store = urllib3.PoolManager(maxsize=64, retries=False, timeout=30)


@dataclass(frozen=True)
class Kind:
    """A wish: what is asked for, how the host serves it, and how often among others."""

    source: str
    weight: float = 1.0
    options: dict[str, Any] = field(default_factory=dict)


KINDS = {
    "slow": Kind("small.slow", 5),
    "slow film": Kind("demo.slow", 3, {"quality": "360p"}),
    "plain": Kind("small", 2),
    "two sounds": Kind("dual", 1),
    "webm": Kind("webm", 1),
    "sound": Kind("sound.slow", 1, {"mode": "audio"}),
    "mp3": Kind("sound", 1, {"mode": "audio", "format": "mp3"}),
    "picture": Kind("picture", 0.5, {"mode": "thumbnail"}),
    "film with subtitles": Kind("demo.slow", 1, {"subtitles": {"enabled": True, "embed": True, "languages": ["de"]}}),
    "film without sponsors": Kind("demo", 1, {"sponsorBlock": True, "quality": "360p"}),
    "playlist": Kind("hls.slow", 1),
    "sabr": Kind("sabr", 1),
    "lengthless": Kind("lengthless.slow", 1),
    "refused": Kind("refused", 1),
    "expiring": Kind("small.gone", 1),
    "resets": Kind("small.reset", 1),
    "bursts of 503": Kind("small.burst", 1),
    "ranges ignored": Kind("small.rangeless", 1),
    "ranges ignored later": Kind("demo.fickle", 1),
    "another version midway": Kind("small.drift", 1),
    "hesitant server": Kind("small.hesitant", 1),
    "missing": Kind("missing", 0.5),
}
S3_KINDS = KINDS | {"stout": Kind("stout", 2)}
# What ends well and quickly: for a load that shall be as dense as the service takes it.
QUICK_KINDS = {name: KINDS[name] for name in ("plain", "two sounds", "webm", "mp3", "sabr", "lengthless")}


@dataclass
class Asked:
    """One job as its client knows it. ``cancel`` and ``delete`` are the last answers' status, 0 where never asked."""

    kind: str
    job_id: str
    cancel: int = 0
    delete: int = 0
    status: str = ""
    percents: tuple[float, ...] = ()
    packets: str = ""
    digest: str = ""


@dataclass
class Load:
    """How the clients behave: so many jobs, from so many clients at once, a post every ``pace`` seconds.

    The shares of jobs that are cancelled, deleted, watched; whether files are fetched; whether jobs are followed at all.
    """

    jobs: int
    clients: int = 96
    pace: float = 0.0
    cancels: float = 0.1
    deletes: float = 0.3
    watches: float = 0.3
    verifies: bool = True
    follows: bool = True


class Clients:
    """Clients on threads; ``asked`` is everything that was accepted. ``stop`` ends them before their jobs are all posted."""

    def __init__(self, scene: Scene, kinds: dict[str, Kind], load: Load, seed: int) -> None:
        self._scene = scene
        self._kinds = kinds
        self._load = load
        self._seed = seed
        self._numbers = iter(range(load.jobs))
        self._lock = threading.Lock()
        self._started = 0.0
        self.stop = threading.Event()
        self.asked: list[Asked] = []
        self.refused: Counter[str] = Counter()
        self.broken: list[str] = []

    def run(self) -> float:
        """Post all jobs and follow each to its end; how long that took (seconds)."""
        self._started = time.monotonic()
        threads = [threading.Thread(target=self._client) for _ in range(self._load.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.monotonic() - self._started

    def _client(self) -> None:
        while not self.stop.is_set():
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                return
            self.stop.wait(max(0.0, self._started + number * self._load.pace - time.monotonic()))
            if self.stop.is_set():
                return
            try:
                self._job(number)
            except Exception as error:  # a client that gives up is a finding, not the end of the storm
                with self._lock:
                    self.broken.append(f"the client of job {number} gave up: {error!r}")

    def _job(self, number: int) -> None:
        choice = random.Random(self._seed * 1_000_003 + number)
        names = list(self._kinds)
        kind = choice.choices(names, [self._kinds[name].weight for name in names])[0]
        asked = Asked(kind, self._post(kind, number))
        with self._lock:
            self.asked.append(asked)
        if not self._load.follows:
            return
        if choice.random() < self._load.cancels:
            self.stop.wait(choice.random() * 3)
            asked.cancel = self._try("POST", f"/jobs/{asked.job_id}/cancel").status
        self._follow(asked, watch=choice.random() < self._load.watches)
        if asked.status == "done" and self._load.verifies:
            data = self._try("GET", f"/jobs/{asked.job_id}/artifact", expect=200).data
            asked.digest, asked.packets = hashlib.sha256(data).hexdigest(), packets(data)
        if choice.random() < self._load.deletes:
            asked.delete = self._try("DELETE", f"/jobs/{asked.job_id}").status

    def _post(self, kind: str, number: int) -> str:
        """Post until it is accepted: a client of ours may not know whether a 503 was taken, an equal post finds out."""
        wish = self._kinds[kind]
        url = self._scene.host.source(wish.source, kind=kind.replace(" ", "_"), seed=self._seed, n=number)
        answer = self._try("POST", "/jobs", expect=201, json={"url": url, "options": wish.options})
        return str(answer.json()["id"])

    def _follow(self, asked: Asked, *, watch: bool) -> None:
        if watch:
            try:
                told = [event.data for event in events(f"{self._scene.service.url}/jobs/{asked.job_id}/events", 20)]
                asked.percents = tuple(data.get("progressPercent", 0) for data in told)
            except (urllib3.exceptions.HTTPError, AssertionError, OSError):
                pass  # as a browser does that never reconnects: the polls beside it go on
        while True:
            asked.status = self._try("GET", f"/jobs/{asked.job_id}", expect=200).json()["status"]
            if asked.status in ("done", "failed"):
                return
            time.sleep(POLL_SECONDS)

    def _try(self, method: str, path: str, expect: int | None = None, **kwargs: Any) -> urllib3.BaseHTTPResponse:
        """Ask until the service is there and answers (as ``expect`` says); two minutes of refusals are a failure."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        attempt, last = 0, ""
        while time.monotonic() < deadline:
            try:
                answer = ask(self._scene, method, path, **kwargs)
                if answer.status == expect or (expect is None and answer.status < 500):
                    return answer
                last = str(answer.status)
            except urllib3.exceptions.HTTPError as error:
                last = type(error).__name__
            with self._lock:
                self.refused[last] += 1
            time.sleep(WAITS[min(attempt, len(WAITS) - 1)])
            attempt += 1
        raise AssertionError(f"{method} {path} was refused for {PATIENCE_SECONDS:.0f} s, at last with {last}")


def ask(scene: Scene, method: str, path: str, **kwargs: Any) -> urllib3.BaseHTTPResponse:
    """One request; where the answer leads to the S3 server, that server's answer."""
    answer = scene.service.request(method, path, redirect=False, **kwargs)
    return _store.request("GET", answer.headers["Location"]) if answer.status == 302 else answer


def undisturbed(scene: Scene, kinds: dict[str, Kind]) -> dict[str, str]:
    """What each kind becomes when nothing happens: the digest of its packets, or its error code."""

    def one(name: str) -> str:
        url = scene.host.source(kinds[name].source, calm=name.replace(" ", "_"))
        job = scene.service.ended(scene.service.post(url, **kinds[name].options), 120)
        if job["status"] == "failed":
            return str(job["errorCode"])
        return packets(ask(scene, "GET", f"/jobs/{job['id']}/artifact").data)

    with ThreadPoolExecutor(len(kinds)) as pool:
        return dict(zip(kinds, pool.map(one, kinds), strict=True))


def packets(data: bytes) -> str:
    """A digest of every packet of a file: equal for equal media, however it was put together."""
    digest = hashlib.sha256()
    with av.open(io.BytesIO(data)) as media:
        for packet in media.demux():
            if packet.size:
                digest.update(b"%d %d " % (packet.stream_index, packet.pts or 0) + bytes(packet))
    return digest.hexdigest()
