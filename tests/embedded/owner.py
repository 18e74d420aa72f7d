"""A process that owns both servers: says where they listen, then waits for its end. Run as ``python -m``."""

import json
import sys
from pathlib import Path

from downloader import embedded

if __name__ == "__main__":
    servers = embedded.Servers(Path(sys.argv[1]), fsync=False)
    servers.start()
    print(json.dumps({"dsn": servers.database_url, "url": servers.redis_url}), flush=True)
    sys.stdin.read()
    servers.stop()
