"""The ``downloader`` command. Each command is a module that loads only when it is used."""

import importlib
import sys

import click

from downloader import __version__

COMMANDS = {
    "up": ("downloader.cli.up", "Run the whole service under one supervisor."),
    "web": ("downloader.cli.roles", "Run the HTTP frontend alone."),
    "stage": ("downloader.cli.roles", "Run the pool of one stage alone."),
    "migrate": ("downloader.cli.roles", "Bring the database up to date."),
    "get": ("downloader.cli.get", "Download a URL through a running service."),
    "jobs": ("downloader.cli.jobs", "List, show, cancel and retry jobs."),
    "doctor": ("downloader.cli.doctor", "Check every part and say what to do."),
    "sweep": ("downloader.cli.sweep", "Remove files that no job needs any more."),
}


class Commands(click.Group):
    """Loads a command's module when the command is asked for, so that ``--help`` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of a first day's use."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without loading them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


EXAMPLES = """\b
Examples:
  downloader up                          start the service here, data in ./data
  downloader get https://example.com/v   download through it, with a progress bar
  downloader doctor                      see what is wrong, and what to do
"""


@click.group(cls=Commands, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="downloader")
def command() -> None:
    """Download media for the TypeType stack: run the service, use it, look after it.

    Configuration comes from environment variables; docs/operating.md lists them.
    """


def main() -> None:
    """Run the command line and exit with its status."""
    sys.exit(command(standalone_mode=True))
