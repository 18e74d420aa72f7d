"""The HTTP interface of a running service, as the commands use it."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import click
import urllib3
from urllib3.exceptions import HTTPError

from downloader import config

POLL_SECONDS = 1.0
SILENCE_SECONDS = 40.0  # the service sends a comment every 15 s; beyond this the stream is dead
AWAY_SECONDS = 60.0  # a service that restarts is back by then
ENDED = ("done", "failed")
_REDIRECTS = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5)

Job = dict[str, Any]
Command = TypeVar("Command", bound=Callable[..., Any])


class Unreachable(Exception):
    """No service answers there."""


class Refused(Exception):
    """The service says no: its sentence, and its ``code``."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Service:
    """A service at ``base``. ``timeout`` in seconds, for everything but streams."""

    def __init__(self, base: str, *, timeout: float = 15.0) -> None:
        self.base = base.rstrip("/")
        self._timeout = timeout
        self._pool = urllib3.PoolManager(retries=False, timeout=timeout)

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._pool.clear()

    def health(self) -> None:
        """Return when the frontend answers. Raises Unreachable."""
        self._json("GET", "/health")

    def deep_health(self) -> dict[str, Any]:
        """What the service says of its parts, also when some fail. Raises Unreachable."""
        return self._json("GET", "/health/deep", also=(HTTPStatus.SERVICE_UNAVAILABLE,))

    def post(self, url: str, options: Mapping[str, Any]) -> Job:
        """Post a job: ``id`` and ``cached``. Raises Refused, Unreachable."""
        return self._json("POST", "/jobs", body={"url": url, "options": dict(options)})

    def job(self, job_id: str) -> Job:
        """The job as it is. Raises Refused, Unreachable."""
        return self._json("GET", f"/jobs/{_segment(job_id)}")

    def cancel(self, job_id: str) -> Job:
        """Cancel the job. Raises Refused, Unreachable."""
        return self._json("POST", f"/jobs/{_segment(job_id)}/cancel")

    def follow(self, job_id: str) -> Iterator[Job]:
        """The job at each change until it ended: by events, or by polling where those do not come through.

        Raises Refused, and Unreachable when the service stays away for a minute.
        """
        job: Job = {}
        away_since: float | None = None
        while job.get("status") not in ENDED:
            try:
                for job in self._events(job_id):
                    yield job
                if job.get("status") not in ENDED:
                    job = self.job(job_id)
                    yield job
                away_since = None
            except Unreachable:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > AWAY_SECONDS:
                    raise
            if job.get("status") not in ENDED:
                time.sleep(POLL_SECONDS)

    def artifact(self, job_id: str) -> urllib3.BaseHTTPResponse:
        """The finished file as a response to stream and close; redirects are followed. Raises Refused, Unreachable."""
        return self._file(f"/jobs/{_segment(job_id)}/artifact?download=1")

    def sidecar(self, job_id: str, name: str) -> urllib3.BaseHTTPResponse:
        """A file beside the artifact, by its name, as ``artifact``. Raises Refused, Unreachable."""
        return self._file(f"/jobs/{_segment(job_id)}/files/{_segment(name)}?download=1")

    def _file(self, path: str) -> urllib3.BaseHTTPResponse:
        response = self._request("GET", path)
        location = response.get_redirect_location()
        if location:
            response.close()
            response = self._elsewhere(urljoin(self.base + path, location))
        if response.status != HTTPStatus.OK:
            with response:
                raise _refusal(response)
        return response

    def _events(self, job_id: str) -> Iterator[Job]:
        """The events of the job until the stream ends or breaks; nothing when there are none to be had."""
        silence = urllib3.Timeout(connect=self._timeout, read=SILENCE_SECONDS)
        headers = {"Accept": "text/event-stream"}
        response = self._request("GET", f"/jobs/{_segment(job_id)}/events", headers=headers, timeout=silence)
        with response:
            if response.status != HTTPStatus.OK:
                return
            pending = b""
            try:
                for piece in response.stream(16384):
                    *events, pending = (pending + piece).replace(b"\r\n", b"\n").split(b"\n\n")
                    yield from filter(None, map(_event, events))
            except HTTPError:
                return

    def _json(self, method: str, path: str, *, body: object = None, also: tuple[int, ...] = ()) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        content = json.dumps(body).encode() if body is not None else None
        response = self._request(method, path, headers=headers, body=content)
        with response:
            if response.status >= HTTPStatus.BAD_REQUEST and response.status not in also:
                raise _refusal(response)
            try:
                found: dict[str, Any] = json.loads(response.read())
            except (ValueError, HTTPError) as error:
                raise Unreachable(f"What answers on {self.base} is no downloader.") from error
        return found

    def _request(self, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool.request(method, self.base + path, preload_content=False, redirect=False, **options)
        except (HTTPError, ValueError) as error:
            raise Unreachable(
                f"No downloader answers on {self.base}. Start one with `downloader up`, or name it with --server."
            ) from error

    def _elsewhere(self, url: str) -> urllib3.BaseHTTPResponse:
        """What stands at ``url``, where the service sent us: the artifact store."""
        try:
            return self._pool.request("GET", url, preload_content=False, retries=_REDIRECTS)
        except (HTTPError, ValueError) as error:
            raise Unreachable(
                f"The file lies on {urlsplit(url).netloc}, which cannot be reached from here:"
                " the service's S3_PUBLIC_ENDPOINT names where clients reach the store."
            ) from error


def server_option(text: str) -> Callable[[Command], Command]:
    """The option ``--server``: DOWNLOADER_SERVER, else the service on this machine."""
    shown = "this machine's, by HTTP_ADDR and HTTP_PORT"
    return click.option("--server", envvar="DOWNLOADER_SERVER", default=_here, show_default=shown, help=text)


def _here() -> str:
    try:
        return config.local_url()
    except config.ConfigError as error:
        raise click.ClickException(str(error)) from error


def _event(block: bytes) -> Job | None:
    data = [line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:")]
    return json.loads(b"\n".join(data)) if data else None


def _refusal(response: urllib3.BaseHTTPResponse) -> Refused:
    try:
        found = json.loads(response.read())
        return Refused(str(found["error"]), str(found["errorCode"]))
    except (ValueError, KeyError, TypeError, HTTPError):
        return Refused(f"The service answered {response.status}.", f"http_{response.status}")


def _segment(job_id: str) -> str:
    return quote(job_id, safe="")
