"""gunicorn's logger, writing to ours: one structured line per request, without query strings."""

from collections.abc import MutableMapping
from datetime import timedelta
from typing import Any

import structlog
from gunicorn.glogging import Logger


class AccessLogger(Logger):
    """What gunicorn has to say goes through structlog; its own files and formats stay unused."""

    def setup(self, cfg: Any) -> None:
        """Called by gunicorn once, and again after a reload."""
        super().setup(cfg)
        for stream in (self.error_log, self.access_log):
            stream.handlers.clear()
            stream.propagate = True
        self._requests = structlog.get_logger("web.access")

    def access(self, resp: Any, req: Any, environ: MutableMapping[str, Any], request_time: timedelta) -> None:
        """One answered request. Health checks, which come every few seconds, are for debugging only."""
        del req
        path = environ.get("PATH_INFO", "")
        say = self._requests.debug if path.startswith("/health") else self._requests.info
        say(
            "request",
            method=environ.get("REQUEST_METHOD"),
            path=path[:256],
            status=int(str(resp.status).split(None, 1)[0]),
            bytes=resp.sent or resp.sock.file_bytes,
            ms=round(request_time.total_seconds() * 1000, 1),
            request_id=environ.get("HTTP_X_REQUEST_ID", "")[:128] or None,
        )
        resp.sock.file_bytes = 0
