"""The mux stage: fetched tracks become the file (and its sidecars) that will be published."""

from pathlib import Path

import msgspec

from downloader.artifacts.names import file_name
from downloader.config import Settings
from downloader.errors import EngineCrashed, StorageFailed
from downloader.handoff import Fetched, FetchedTrack, Media, Muxed, MuxedFile, Plan
from downloader.mux.engine import Engine
from downloader.mux.order import Made, Order
from stages.contract import StepContext, StepResult

_SLACK = 64 << 20  # bytes that an output may have beyond twice its input
_LOSSLESS_RATE = 1_600_000  # bits per second: 48 kHz, stereo, 16 bit, and some
_CPU_SECONDS = 60
_CPU_BYTES_PER_SECOND = 8 << 20  # a slow disk and a slow core copy faster than this
_LABEL_LIMIT = 14  # characters: a name stays below the 255 bytes that file systems take
_REALTIME = 4  # transcoding sound is many times faster than playing it, also on a slow core


class MuxStage:
    """See stages.contract.Stage. Keeps one contained child warm; see downloader.mux.engine."""

    def __init__(self, settings: Settings) -> None:
        settings.jobs_dir.mkdir(parents=True, exist_ok=True)
        self._engine = Engine(wall_seconds=settings.job_time_limit_seconds, root=settings.jobs_dir)
        self._engine.warm()

    def run(self, step: StepContext) -> StepResult:
        """Make the file. Work files are named after the epoch; a failure leaves none of them."""
        plan = step.take("resolve", Plan)
        fetched = step.take("fetch", Fetched)
        order = _order(step, plan.media, fetched.tracks)
        _clear(step.work, order.stem)
        title = plan.title or plan.media.title
        try:
            done = self._engine.run(order, step.check, step.progress)
            main, *sidecars = (_named(made, title, order) for made in (done.main, *done.sidecars))
        except BaseException:
            _clear(step.work, order.stem)
            raise
        muxed = Muxed(main=main, sidecars=tuple(sidecars), duration_ms=done.duration_ms, warnings=done.warnings)
        return StepResult(
            outputs=muxed,
            duration_ms=done.duration_ms,
            resolved=msgspec.structs.replace(plan.resolved, container=done.container, file_name=main.name),
            warnings=done.warnings,
            fields={"bytes": done.main.size},
        )

    def close(self) -> None:
        """End the child."""
        self._engine.close()


def _order(step: StepContext, media: Media, tracks: tuple[FetchedTrack, ...]) -> Order:
    size = sum(track.size for track in tracks)
    output, cpu = 2 * size + _SLACK, _CPU_SECONDS + size // _CPU_BYTES_PER_SECOND
    if media.operation == "transcode":
        output += round(media.duration_s * max(media.bitrate or 0, _LOSSLESS_RATE) / 8)
        cpu += round(media.duration_s / _REALTIME)
    return Order(
        work=str(step.work.resolve()),
        stem=f"mux-{step.epoch}",
        tracks=tracks,
        media=media,
        output_limit=output,
        cpu_limit=cpu,
        durable=step.settings.storage == "local",
    )


def _clear(work: Path, stem: str) -> None:
    try:
        for path in work.glob(f"{stem}.*"):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageFailed("The work folder cannot be written.") from error


def _named(made: Made, title: str, order: Order) -> MuxedFile:
    """The file as clients will see it; a sidecar's label stands between title and extension.

    The child has handled a stranger's bytes: what it says is believed only of files that it was to make.
    """
    path = Path(order.work, made.path)
    if made.path != path.name or not made.path.startswith(f"{order.stem}.") or path.is_symlink() or not path.is_file():
        raise EngineCrashed("The muxer names a file that it was not to make.")
    name = file_name(title, made.extension)
    if made.label:
        label = "".join(c for c in made.label if c.isascii() and (c.isalnum() or c == "-"))[:_LABEL_LIMIT]
        name = f"{name.removesuffix(made.extension)}{label or 'und'}.{made.extension}"
    return MuxedFile(path=made.path, name=name, size=path.stat().st_size, content_type=made.content_type)
