"""``python -m web``: the HTTP frontend."""

import argparse
import sys
from collections.abc import Sequence

from downloader import config, logs
from web.server import serve


def main(argv: Sequence[str] | None = None) -> int:
    """Read the configuration and serve; 2 when the configuration is wrong."""
    parser = argparse.ArgumentParser(prog="python -m web", description="Serve the downloader's HTTP interface.")
    parser.add_argument("--bind", default="", help="host:port or fd://N (default: HTTP_ADDR and HTTP_PORT)")
    parser.add_argument(
        "--lifeline-fd", type=int, metavar="N", help="a pipe to read: shut down when its other end closes"
    )
    given = parser.parse_args(argv)
    try:
        settings = _complete(config.load())
    except config.ConfigError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - nothing to log with yet
        return 2
    logs.configure(settings)
    serve(settings, given.bind, given.lifeline_fd)
    return 0


def _complete(settings: config.Settings) -> config.Settings:
    """``settings``; raises ConfigError when they do not say where Postgres and Redis are."""
    missing = [
        name
        for name, value in (("DATABASE_URL", settings.database_location), ("REDIS_URL", settings.redis_location))
        if not value
    ]
    if missing:
        raise config.ConfigError("; ".join(f"{name} must be set" for name in missing))
    return settings


if __name__ == "__main__":
    sys.exit(main())
