"""The whole service as real processes, beside a stand-in for TypeType-Server: what end-to-end tests and benches run."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import urllib3

from downloader import embedded, store
from tests.waiting import until

ROOT = Path(__file__).parent.parent
START_SECONDS = 30.0


class StandIn:
    """``python -m tests.standin`` as a process of its own; ends with us, also when we are killed."""

    def __init__(self, media: Path, *make: str, module: str = "tests.standin") -> None:
        media.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, "--media", str(media), *(["--make", *make] if make else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert self._process.stdout is not None
        ready = json.loads(self._process.stdout.readline())
        self.base: str = ready["base"]

    def source(self, name: str, **more: object) -> str:
        """The URL of a source that a job may ask for."""
        extra = "".join(f"&{key}={value}" for key, value in more.items())
        return f"https://example.test/watch?v={name}{extra}"

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()


class Service:
    """``python -m stages up`` (or chosen roles) over given or private servers, spoken to over HTTP."""

    def __init__(
        self,
        folder: Path,
        *,
        base: str,
        database_url: str = "",
        redis_url: str = "",
        prefix: str = "downloader:queue",
        roles: tuple[tuple[str, ...], ...] = (("stages", "up"),),
        variables: Mapping[str, str] | None = None,
        root: Path = ROOT,
    ) -> None:
        self._root = root
        self.folder = folder
        self._stack = ExitStack()
        folder.mkdir(parents=True, exist_ok=True)
        self.database_url = database_url or self._stack.enter_context(embedded.postgres(folder / "postgres"))
        self.redis_url = redis_url or self._stack.enter_context(embedded.valkey(folder / "valkey"))
        self.port = _free_port()
        self.environment = {
            **{key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ},
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "REDIS_QUEUE_KEY": prefix,
            "TYPETYPE_API_BASE": base,
            "MEDIA_ALLOW_NETWORKS": "127.0.0.0/8",
            "DATA_DIR": str(folder / "data"),
            "HTTP_ADDR": "127.0.0.1",
            "HTTP_PORT": str(self.port),
            "STORAGE_MIN_FREE_BYTES": "0",
            "STORAGE_MIN_FREE_PERCENT": "0",
            "LOG_FORMAT": "json",
            **(variables or {}),
        }
        self.log = folder / "service.log"
        # Only we hold the other end: when we are killed, what we started sees it close.
        self._lifeline, self._ours = os.pipe()
        self.processes: list[subprocess.Popen[bytes]] = []
        self._roles = roles
        self._http = urllib3.PoolManager(maxsize=64, retries=False, timeout=30)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def migrate(self) -> None:
        store.migrate(self.database_url)

    def __enter__(self) -> Self:
        self.migrate()
        try:
            for role in self._roles:
                self.start(*role)
            until(self.healthy, START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        os.close(self._ours)
        os.close(self._lifeline)
        self._http.clear()
        self._stack.close()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start ``python -m ARGUMENTS``, in a session of its own; it ends with us, also when we are killed."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments, "--lifeline-fd", str(self._lifeline)],
                env=self.environment,
                cwd=self._root,
                stdout=log,
                stderr=log,
                pass_fds=(self._lifeline,),
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def healthy(self) -> bool:
        """Whether every check is well, all stages' workers included."""
        try:
            return self._http.request("GET", f"{self.url}/health/deep").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def answers(self) -> bool:
        """Whether web is there at all."""
        try:
            return self._http.request("GET", f"{self.url}/health").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def request(self, method: str, path: str, **kwargs: Any) -> urllib3.BaseHTTPResponse:
        """One request; the answer whatever its status."""
        return self._http.request(method, f"{self.url}{path}", **kwargs)

    def post(self, url: str, headers: Mapping[str, str] | None = None, **options: object) -> str:
        """Post a job and return its id."""
        answer = self.request("POST", "/jobs", json={"url": url, "options": options}, headers=headers)
        assert answer.status == 201, answer.data
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        answer = self.request("GET", f"/jobs/{job_id}")
        assert answer.status == 200, answer.data
        return dict(answer.json())

    def ended(self, job_id: str, seconds: float = 60.0) -> dict[str, Any]:
        """The job once it is done or failed."""
        found: dict[str, Any] = {}

        def look() -> bool:
            found.update(self.job(job_id))
            return found["status"] in ("done", "failed")

        until(look, seconds)
        return found

    def rows(self, sql: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """What the database says."""
        database = store.Database(self.database_url, size=1)
        try:
            return database.rows(sql, values)
        finally:
            database.close()

    def logs(self) -> list[dict[str, Any]]:
        """The structured lines of the log so far."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
