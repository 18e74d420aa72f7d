"""gunicorn's logger, writing to ours: one structured line per request, without query strings."""

import re
from collections.abc import MutableMapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import structlog
from gunicorn.glogging import Logger

# What clients and probes ask for every few seconds.
_POLLED = re.compile(r"/health(/deep)?|/metrics|/jobs/[^/]+")


class ServerLog(Logger):
    """Sends what gunicorn has to say through structlog; its own files and formats stay unused."""

    def setup(self, cfg: Any) -> None:
        """Called by gunicorn once, and again after a reload."""
        super().setup(cfg)
        self._server = structlog.get_logger("web.server")

    def critical(self, msg: object, *args: object, **kwargs: Any) -> None:
        """See logging.Logger; likewise all below."""
        self._server.critical(_text(msg, args), exc_info=kwargs.get("exc_info"))

    def error(self, msg: object, *args: object, **kwargs: Any) -> None:
        """A failure."""
        self._server.error(_text(msg, args), exc_info=kwargs.get("exc_info"))

    def warning(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Something odd."""
        self._server.warning(_text(msg, args), exc_info=kwargs.get("exc_info"))

    def info(self, msg: object, *args: object, **kwargs: Any) -> None:
        """A step of the server's life."""
        self._server.info(_text(msg, args), exc_info=kwargs.get("exc_info"))

    def debug(self, msg: object, *args: object, **kwargs: Any) -> None:
        """A detail."""
        self._server.debug(_text(msg, args), exc_info=kwargs.get("exc_info"))

    def exception(self, msg: object, *args: object, **kwargs: Any) -> None:
        """A failure with its traceback."""
        self._server.error(_text(msg, args), exc_info=kwargs.get("exc_info", True))

    def access(self, resp: Any, req: Any, environ: MutableMapping[str, Any], request_time: timedelta) -> None:
        """One answered request. Polls that found what they asked for are for debugging only."""
        del req
        path, method = environ.get("PATH_INFO", ""), environ.get("REQUEST_METHOD")
        status = int(str(resp.status).split(None, 1)[0])
        polled = status == HTTPStatus.OK and method in ("GET", "HEAD") and _POLLED.fullmatch(path)
        say = self._server.debug if polled else self._server.info
        say(
            "request",
            method=method,
            path=path[:256],
            status=status,
            bytes=resp.sent or resp.sock.file_bytes,
            ms=round(request_time.total_seconds() * 1000, 1),
            request_id=environ.get("HTTP_X_REQUEST_ID", "")[:128] or None,
        )
        resp.sock.file_bytes = 0


def _text(msg: object, args: tuple[object, ...]) -> str:
    return str(msg) % args if args else str(msg)
