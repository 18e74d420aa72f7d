"""Room on the volume of DATA_DIR, as far as all who share it are concerned."""

import secrets
from pathlib import Path
from typing import Final

from downloader import disk
from downloader.kept import kept

_ID: Final = "volume.id"
_ID_MODE: Final = 0o644


def volume_id(folder: Path) -> str:
    """The same text for all processes that share ``folder``, in whichever container or machine, another for others.

    It is kept in the folder itself, for neither host names nor device numbers tell what is shared.
    """
    try:
        return kept(folder / _ID, lambda: secrets.token_hex(16), mode=_ID_MODE)
    except OSError as error:
        raise disk.failure(error, folder) from error
