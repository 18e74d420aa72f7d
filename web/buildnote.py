"""Which build of the service this is."""

from importlib.resources import files

import msgspec


class Build(msgspec.Struct, frozen=True, rename="camel"):
    """What the packager noted of this build in downloader/_build.json."""

    revision: str = "unknown"
    build_time: str = "unknown"


def build() -> Build:
    """The packager's note, or unknown."""
    try:
        return msgspec.json.decode((files("downloader") / "_build.json").read_bytes(), type=Build)
    except (FileNotFoundError, msgspec.MsgspecError):
        return Build()
