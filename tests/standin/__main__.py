"""``python -m tests.standin --port 0 --media DIR``: prints one line of JSON when it listens, ends with its parent."""

import argparse
import asyncio
import json
import os
import signal
import stat
import sys
from pathlib import Path

from tests.standin.media import media_file
from tests.standin.server import StandIn, serving

_PARENT_POLL_SECONDS = 0.5


async def main(arguments: argparse.Namespace) -> None:
    for name in arguments.make:
        media_file(arguments.media, name)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        loop.add_reader(0, lambda: os.read(0, 4096) or stop.set())
    async with serving(StandIn(arguments.media, arguments.port, record=False)) as standin:
        ready = {"port": standin.port, "base": standin.base, "source": standin.source("demo")}
        print(json.dumps(ready), flush=True)
        parent = os.getppid()
        while not stop.is_set() and os.getppid() == parent:
            try:
                await asyncio.wait_for(stop.wait(), _PARENT_POLL_SECONDS)
            except TimeoutError:
                continue


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.standin", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--media", type=Path, required=True, help="a folder to keep the media in")
    parser.add_argument("--make", nargs="*", default=[], help="files to make before it listens, such as demo.mp4")
    return parser.parse_args()


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    asyncio.run(main(arguments()))
