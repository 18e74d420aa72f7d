"""gunicorn, started from code: the arbiter stays small, each worker builds the app after it was patched."""

import os
import resource
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication

from downloader.config import Settings
from web.serverlog import ServerLog
from web.worker import Worker

if TYPE_CHECKING:
    from web.parts import Parts

WORKER_CONNECTIONS = 10_000
# Also how long a request's head may take: the same clock runs while waiting for the next one.
KEEP_ALIVE_SECONDS = 30
HANG_SECONDS = 60


class Server(BaseApplication):
    """The web frontend on ``bind`` (``host:port`` or ``fd://N``)."""

    def __init__(self, settings: Settings, bind: str) -> None:
        self._settings = settings
        self._bind = bind
        self._parts: Parts | None = None
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn."""
        chosen: dict[str, Any] = {
            "bind": self._bind,
            "workers": self._settings.web_workers,
            "worker_class": Worker,
            "worker_connections": WORKER_CONNECTIONS,
            "keepalive": KEEP_ALIVE_SECONDS,
            "timeout": HANG_SECONDS,
            "graceful_timeout": max(1, round(self._settings.drain_seconds)),
            "limit_request_line": 8190,
            "limit_request_field_size": 16380,
            "backlog": 2048,
            "logger_class": ServerLog,
            "loglevel": self._settings.log_level,
            "proc_name": "downloader-web",
            # Who stands in front is nobody's business here: no answer of ours depends on the scheme.
            "secure_scheme_headers": {},
            "control_socket_disable": True,
        }
        for name, value in chosen.items():
            self.cfg.set(name, value)

    def load(self) -> Callable[..., Any]:
        """The WSGI app. Called in each worker, after monkey-patching."""
        from web.app import create_app  # noqa: PLC0415 - Flask, psycopg2 and redis must be loaded patched
        from web.parts import build  # noqa: PLC0415 - as above

        self._parts = build(self._settings)
        return create_app(self._parts)

    def drain(self) -> None:
        """End all event streams: a worker that is asked to stop would else wait for them."""
        if self._parts is not None:
            self._parts.hub.close()


def serve(settings: Settings, bind: str = "", lifeline: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT; does not return.

    ``bind`` defaults to HTTP_ADDR and HTTP_PORT. ``lifeline`` is the read end of a pipe: when its other end closes,
    even by a SIGKILL of who holds it, the server drains and ends.
    """
    _raise_file_limit()
    if lifeline is not None:
        os.set_inheritable(lifeline, False)
        threading.Thread(target=_follow, args=(lifeline,), name="lifeline", daemon=True).start()
    Server(settings, bind or settings.http_bind).run()


def _follow(lifeline: int) -> None:
    while os.read(lifeline, 64):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _raise_file_limit() -> None:
    """Allow as many open connections as the system lets us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
