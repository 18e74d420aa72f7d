"""What crosses the wall between the engine and its contained child, as frozen values in JSON lines."""

import msgspec

from downloader.handoff import FetchedTrack, Media


class Order(msgspec.Struct, frozen=True):
    """One job for the child.

    ``work`` is the job's folder, absolute: the only one that the job may touch. Every file it makes is named
    ``stem`` plus a suffix. ``output_limit`` in bytes a file, ``cpu_limit`` in seconds. ``durable`` says that the
    files will be forced to the disk afterwards. ``alone``, which the engine sets, says that its process does no other.
    """

    work: str
    stem: str
    tracks: tuple[FetchedTrack, ...]
    media: Media
    output_limit: int
    cpu_limit: int
    durable: bool = False
    alone: bool = False


class Made(msgspec.Struct, frozen=True):
    """A file that was made: ``path`` relative to the work folder, ``size`` in bytes.

    ``extension`` (without a dot) and ``label`` (of a sidecar, such as its language) make its public name.
    """

    path: str
    size: int
    extension: str
    content_type: str
    label: str = ""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The child is up; ``walls`` says which measures hold it (name → how)."""

    walls: dict[str, str]


class Begun(msgspec.Struct, frozen=True, tag=True):
    """A process has the order in hand."""


class Advanced(msgspec.Struct, frozen=True, tag=True):
    """The job got further: ``done`` of ``total``, in milliseconds of media."""

    done: int
    total: int


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The job is done. ``duration_ms`` of the main file, None for an image."""

    main: Made
    container: str
    sidecars: tuple[Made, ...] = ()
    duration_ms: int | None = None
    warnings: tuple[str, ...] = ()


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The job ended with an error of ours: its class's name and sentence."""

    error: str
    message: str


class Broken(msgspec.Struct, frozen=True, tag=True):
    """The job ended with an exception that nobody foresaw; ``trace`` is for the log alone."""

    trace: str


class Idle(msgspec.Struct, frozen=True, tag=True):
    """The order has ended well and its process waits for the next one."""


class Exited(msgspec.Struct, frozen=True, tag=True):
    """The job's own process is gone: 0, an exit code, or the negative number of the signal that ended it."""

    status: int


Message = Ready | Begun | Advanced | Finished | Failed | Broken | Idle | Exited
