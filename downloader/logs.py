"""Structured logs: one line per unit of work, JSON in production, readable on a terminal. Never a secret in them."""

import logging
import sys

import structlog

from downloader.config import Settings


def configure(settings: Settings, **bound: str) -> None:
    """Send logs to standard error; ``bound`` (such as ``stage``) is on every line of this process."""
    terminal = settings.log_format == "console" or (not settings.log_format and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.log_level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**bound)
