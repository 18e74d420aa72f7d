"""One order as the operations see it: where, what of, what along with it, and whom to tell."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from downloader.handoff import FetchedTrack, Media
from downloader.mux.extras import Extras
from downloader.mux.formats import Container
from downloader.mux.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Task:
    """Make ``path`` of ``tracks`` (in the folder ``work``) as ``media`` says. ``advance(done, total)``: seconds.

    ``durable`` says that the file will be forced to the disk afterwards.
    """

    work: Path
    path: Path
    tracks: tuple[FetchedTrack, ...]
    media: Media
    along: Extras
    advance: Callable[[float, float], None]
    durable: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a task. ``seconds`` is the length of the file as its own header says."""

    container: Container
    seconds: float
    picture: bool
    timeline: Timeline
    warnings: tuple[str, ...] = ()
