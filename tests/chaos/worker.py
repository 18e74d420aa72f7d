"""A stage process that dies, or freezes, at a named point when a test asks for it; supervised like any other.

``python -m tests.chaos.worker PLANS up [N]`` is ``python -m stages up`` with such workers, N of each stage (2). A file ``PLANS/<step>.<point>.<n>.todo``
asks for it once; its content says how: ``kill`` or ``stop``. Points of every step: read, claimed, first-byte, half,
complete, ran, committed, added, acked; of fetch also journal; of publish also placed.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from downloader import config, logs
from downloader.broker import Broker
from downloader.route import JANITOR, stage_names
from downloader.store import Claim
from stages import worker
from stages.__main__ import main as stages_main
from stages.contract import StepContext, StepResult
from stages.identity import Worker
from stages.pool import ProcessSpec, Supervisor
from stages.sizes import default_size

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Plans:
    """What tests have asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def reach(self, step: str, point: str) -> None:
        """Die or freeze here if a test asks for it; whoever renames the file first does."""
        for plan in self._folder.glob(f"{step}.{point}.*.todo"):
            try:
                how = plan.read_text()
                plan.rename(self._folder / f"{step}.{point}.{os.getpid()}")
            except FileNotFoundError:
                continue
            self._strike(how)

    @staticmethod
    def _strike(how: str) -> None:
        # To this thread: it must not take another step before the process stands still.
        signal.pthread_kill(threading.get_ident(), SIGNALS[how])


class Watched:
    """A stage whose progress passes points."""

    def __init__(self, inner: Any, plans: Plans) -> None:
        self._inner = inner
        self._plans = plans

    def run(self, step: StepContext) -> StepResult:
        def progress(done: int, total: int) -> None:
            if done > 0:
                self._plans.reach(step.name, "first-byte")
            if total and done >= total / 2:
                self._plans.reach(step.name, "half")
            if total and done >= total:
                self._plans.reach(step.name, "complete")
            step.progress(done, total)

        result: StepResult = self._inner.run(replace(step, progress=progress))
        return result

    def close(self) -> None:
        self._inner.close()


def run(stage: str, plans: Plans, who: Worker) -> int:
    settings = config.load()
    logs.configure(settings, stage=stage)
    build = worker.build
    worker.build = lambda name, with_settings: Watched(build(name, with_settings), plans)
    settle = Broker.settle

    def watched_settle(self: Broker, done: Any, *, add: Any = (), ended: bool = False) -> None:
        if add:
            self.add(add)
            plans.reach(done.entry.step, "added")
        settle(self, done, add=() if add else add, ended=ended)

    Broker.settle = watched_settle  # type: ignore[method-assign]
    patch_engines(plans)

    def boundary(name: str, claim: Claim | None) -> None:
        plans.reach(claim.name if claim else stage, name)

    return worker.run(who, settings, boundary)


def patch_engines(plans: Plans) -> None:
    """Points inside the engines, where the disk is touched."""

    def after(call: Callable[..., Any], step: str, point: str) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            result = call(*args, **kwargs)
            plans.reach(step, point)
            return result

        return called

    if "fetch" in sys.argv:
        from downloader.fetch import journal

        journal.os = _Patched(
            os, pwrite=after(os.pwrite, "fetch", "journal"), write=after(os.write, "fetch", "journal")
        )
    if "publish" in sys.argv:
        os.link = after(os.link, "publish", "placed")
        os.rename = after(os.rename, "publish", "placed")


class _Patched:
    def __init__(self, module: Any, **changed: Any) -> None:
        self._module = module
        self.__dict__.update(changed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def up(plans: str, each: int, lifeline: int) -> int:
    settings = config.load()
    specs = [ProcessSpec("web", ("-m", "web"), stage=False)]
    for name in stage_names():
        argv = ("-m", "tests.chaos.worker", plans, name, "--slots", str(default_size(name, settings)[1]))
        specs += [ProcessSpec(f"{name}-{number}", argv) for number in range(each)]
    specs.append(ProcessSpec("janitor-0", ("-m", "stages", JANITOR, "--worker", "--slots", "1")))
    return Supervisor(specs, grace=settings.drain_seconds + 2, lifeline=lifeline).run()


def main() -> int:
    plans, name = sys.argv[1:3]
    if name == "up":
        # Two of each: what one process holds while it is frozen, another must be there to take.
        *each, _option, lifeline = sys.argv[3:]
        return up(plans, int(each[0]) if each else 2, int(lifeline))
    if name == JANITOR:
        return stages_main([name, "--worker"])
    options = sys.argv[3:]
    pairs = dict(zip(options[::2], options[1::2], strict=True))
    succeeds = tuple(value for option, value in zip(options[::2], options[1::2], strict=True) if option == "--succeeds")
    who = Worker(name, pairs["--worker-id"], int(pairs["--slots"]), succeeds, int(pairs["--lifeline-fd"]))
    return run(name, Plans(Path(plans)), who)


if __name__ == "__main__":
    sys.exit(main())
