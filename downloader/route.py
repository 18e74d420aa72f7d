"""THE ROUTE: which steps a job takes, as data. A new stage is one file in stages/ and one line here."""

from dataclasses import dataclass
from typing import Literal

from downloader.job import Options
from downloader.states import Stage


@dataclass(frozen=True, slots=True)
class RouteStep:
    """One step of a route.

    ``stage`` names its stream and pool. ``factory`` is dotted (``module:attribute``), so that a process loads only the
    engine it runs. ``public`` is the stage that clients see while it runs; ``share`` how much of a job's progress it
    stands for, beside the others'. ``cpu_bound`` stages run one step per process. ``timing`` is the job's column that
    its duration goes to.
    """

    stage: str
    factory: str
    needs: tuple[str, ...]
    public: Stage
    share: float
    cpu_bound: bool = False
    timing: Literal["", "download_ms", "mux_ms", "upload_ms"] = ""


ROUTE: dict[str, RouteStep] = {
    "resolve": RouteStep("resolve", "stages.resolve:ResolveStage", (), Stage.EXTRACT, 2),
    "fetch": RouteStep("fetch", "stages.fetch:FetchStage", ("resolve",), Stage.DOWNLOAD, 78, timing="download_ms"),
    "mux": RouteStep(
        "mux", "stages.mux:MuxStage", ("resolve", "fetch"), Stage.MUX, 12, cpu_bound=True, timing="mux_ms"
    ),
    "publish": RouteStep(
        "publish", "stages.publish:PublishStage", ("resolve", "mux"), Stage.MUX, 8, timing="upload_ms"
    ),
}
"""Every step by name, in order."""

JANITOR = "janitor"
"""The pool that is no stage: it has neither a stream nor steps."""

_HIGHEST_PERCENT = 99.0


def steps_for(_options: Options) -> dict[str, RouteStep]:
    """The steps that a job with these options takes, in order. Today every job takes all of them."""
    return ROUTE


def stage_names() -> tuple[str, ...]:
    """Every stage that has a pool, in the order of the route."""
    return tuple(dict.fromkeys(step.stage for step in ROUTE.values()))


def percent_window(name: str) -> tuple[float, float]:
    """The part of a job's progress (percent from, percent to) that the step ``name`` covers; 100 is for done jobs."""
    scale = _HIGHEST_PERCENT / sum(step.share for step in ROUTE.values())
    names = list(ROUTE)
    before = sum(ROUTE[earlier].share for earlier in names[: names.index(name)])
    return before * scale, (before + ROUTE[name].share) * scale
