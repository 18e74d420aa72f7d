"""A process of a newer version: it knows a stage and a step that those of today do not.

``python -m tests.e2e.newer STAGE --worker …`` is ``python -m stages STAGE --worker …`` of that version.
"""

import sys
from dataclasses import replace

from downloader.config import Settings
from downloader.handoff import Muxed
from downloader.route import ROUTE, RouteStep
from downloader.states import Stage
from stages.contract import StepContext, StepResult

STAMP = RouteStep("stamp", "tests.e2e.newer:Passing", ("mux",), Stage.MUX, 1)
"""A stage that nobody knows today."""
NOTE = RouteStep("publish", "stages.publish:PublishStage", ("mux", "stamp"), Stage.MUX, 1)
"""A step that nobody knows, of a stage that everybody knows."""


def route() -> dict[str, RouteStep]:
    """The newer version's route."""
    last = ROUTE["publish"]
    return {**ROUTE, "stamp": STAMP, "note": NOTE, "publish": replace(last, needs=(*last.needs, "note"))}


class Passing:
    """A stage that hands on what it was given."""

    def __init__(self, settings: Settings) -> None:
        del settings

    def run(self, step: StepContext) -> StepResult:
        """See Stage."""
        return StepResult(outputs=step.take("mux", Muxed))

    def close(self) -> None:
        """See Stage."""


if __name__ == "__main__":
    from stages.__main__ import main

    newer = route()
    ROUTE.clear()
    ROUTE.update(newer)
    sys.exit(main())
