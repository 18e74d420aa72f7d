"""``python -m web``: the HTTP frontend."""

import argparse
import sys
from collections.abc import Sequence

from downloader import config, logs
from web.server import serve


def main(argv: Sequence[str] | None = None) -> int:
    """Read the configuration and serve; 1 when the configuration is wrong."""
    parser = argparse.ArgumentParser(prog="python -m web", description="Serve the downloader's HTTP interface.")
    parser.add_argument("--bind", default="", help="host:port or fd://N (default: HTTP_ADDR and HTTP_PORT)")
    parser.add_argument(
        "--lifeline-fd", type=int, metavar="N", help="a pipe to read: shut down when its other end closes"
    )
    given = parser.parse_args(argv)
    try:
        settings = config.load_whole()
    except config.ConfigError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201 - nothing to log with yet
        return 1
    logs.configure(settings)
    serve(settings, given.bind, given.lifeline_fd)
    return 0


if __name__ == "__main__":
    sys.exit(main())
