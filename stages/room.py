"""Disk set aside for a job over all processes of its volume."""

from downloader import disk, room
from downloader.config import Settings
from downloader.errors import InsufficientStorage, LeaseLost, NoRoomYet
from downloader.store import Claim, Store


class Room:
    """Reservations on the volume of DATA_DIR."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store

    def reserve(self, claim: Claim, size: int) -> None:
        """Set ``size`` bytes aside, in place of what the claim's job held.

        Raises InsufficientStorage when it cannot fit even alone, NoRoomYet when it will once others are done,
        LeaseLost when the claim holds no more.
        """
        folder = self._settings.data_dir
        space = disk.free(folder)
        minimum = disk.minimum(self._settings, space)
        made, others = self._store.reserve(claim, room.volume_id(folder), size, space.free, minimum)
        if made:
            return
        left = space.free - minimum
        if left - others >= size:
            raise LeaseLost("The step was ended or taken over elsewhere.")
        if left >= size:
            raise NoRoomYet(f"Waiting for disk: {size} bytes needed, other jobs hold {others} of {space.free} free.")
        raise InsufficientStorage(
            f"Not enough disk: {size} bytes are needed and {space.free} are free, of which {minimum} must stay so.",
            free=space.free,
            required=size + minimum,
        )
