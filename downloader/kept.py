"""Short texts that are made once and kept in DATA_DIR, the same for all processes that share it."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from downloader.artifacts.files import place


def kept(path: Path, make: Callable[[], str], *, mode: int = 0o600) -> str:
    """The text in ``path``, which ``make`` gives when there is none yet. Raises OSError.

    The file is made whole beside its place and put there without replacing one, so that many processes may do so at
    once, and none ever reads half of it.
    """
    with suppress(FileNotFoundError):
        return path.read_text(encoding="ascii").strip()
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as fresh:
        fresh.write(make().encode("ascii"))
        fresh.flush()
        os.fchmod(fresh.fileno(), mode)
        os.fsync(fresh.fileno())
    try:
        place(Path(fresh.name), path)
    finally:
        Path(fresh.name).unlink(missing_ok=True)
    return path.read_text(encoding="ascii").strip()
