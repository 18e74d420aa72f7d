"""``python -m stages NAME`` runs the pool of a stage; ``python -m stages up`` runs web, all pools and the janitor."""

import argparse
import os
import socket
import sys
from typing import TYPE_CHECKING

from downloader import config
from downloader.route import JANITOR, stage_names
from stages.pool import ProcessSpec, Supervisor
from stages.sizes import default_size

if TYPE_CHECKING:
    from downloader.config import Settings


def main(argv: list[str] | None = None) -> int:
    """Run what the arguments say; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        settings = config.load_whole()
    except config.ConfigError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201 - no logger without settings
        return 1
    if arguments.worker:
        return _work(arguments, settings)
    if arguments.name == "up":
        specs = [ProcessSpec("web", ("-m", "web"), stage=False)]
        for name in (*stage_names(), JANITOR):
            specs += _specs(name, settings, None, None)
    else:
        specs = _specs(arguments.name, settings, arguments.processes, arguments.slots)
    grace = settings.drain_seconds + 2.0
    return Supervisor(specs, grace=grace, lifeline=arguments.lifeline_fd).run()


def _work(arguments: argparse.Namespace, settings: "Settings") -> int:
    # The supervisor must not load what only a worker needs.
    from downloader import logs  # noqa: PLC0415
    from stages import worker  # noqa: PLC0415
    from stages.identity import Worker  # noqa: PLC0415

    logs.configure(settings, stage=arguments.name)
    slots = arguments.slots or default_size(arguments.name, settings)[1]
    identity = arguments.worker_id or f"{socket.gethostname()}:{arguments.name}:{os.getpid()}"
    who = Worker(arguments.name, identity, slots, tuple(arguments.succeeds), arguments.lifeline_fd)
    return worker.run(who, settings)


def _specs(name: str, settings: "Settings", processes: int | None, slots: int | None) -> list[ProcessSpec]:
    usual_processes, usual_slots = default_size(name, settings)
    argv = ("-m", "stages", name, "--worker", "--slots", str(slots or usual_slots))
    return [ProcessSpec(f"{name}-{number}", argv) for number in range(processes or usual_processes)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stages",
        description="Run the processes of a stage, or of the whole service.",
        epilog="Examples: python -m stages fetch --processes 2 --slots 4; python -m stages up",
    )
    parser.add_argument("name", choices=[*stage_names(), JANITOR, "up"], help="the stage, or up for everything")
    parser.add_argument("--processes", type=_count, help="processes of the pool (default: by MAX_CONCURRENT_WORKERS)")
    parser.add_argument("--slots", type=_count, help="jobs at once in each process")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--worker-id", help=argparse.SUPPRESS)
    parser.add_argument("--succeeds", action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--lifeline-fd", type=int, help=argparse.SUPPRESS)
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
