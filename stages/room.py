"""Disk set aside for a job over all processes of its volume."""

from typing import NoReturn

from downloader import disk, room
from downloader.config import Settings
from downloader.errors import InsufficientStorage, LeaseLost, NoRoomYet
from downloader.store import Claim, Reserved, Store

# A job that needs much is passed by those that need little for so long; then they wait behind it.
PATIENCE_SECONDS = 300.0


class Room:
    """Reservations on the volume of DATA_DIR."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store

    def reserve(self, claim: Claim, size: int) -> None:
        """Set aside ``size`` bytes for all that the job's folder will come to hold, in place of what the job held.

        Raises InsufficientStorage when it could not fit even if all others had ended, NoRoomYet when it may once some
        have, LeaseLost when the claim holds no more.
        """
        settings, store = self._settings, self._store
        volume = room.volume_id(settings.data_dir)
        # In this order: what is written in between counts twice, never not at all.
        written = room.written(settings, {*store.reserved(volume), claim.job.id})
        space = disk.free(settings.data_dir)
        minimum = disk.minimum(settings, space)
        # A reservation of nothing would be a place in line.
        size = max(1, size)
        answer = store.reserve(
            claim, volume, size, left=space.free - minimum, written=written, patience=PATIENCE_SECONDS
        )
        if not answer.made:
            self._refuse(answer, space, minimum, size, max(0, size - written[claim.job.id]))

    def _refuse(self, answer: Reserved, space: disk.DiskSpace, minimum: int, size: int, to_come: int) -> NoReturn:
        if not answer.holds:
            raise LeaseLost("The step was ended or taken over elsewhere.")
        if space.free + room.passing(self._settings) - minimum < size:
            raise InsufficientStorage(
                f"Not enough disk: {to_come} bytes are needed and {space.free} are free, {minimum} of which must stay.",
                free=space.free,
                required=to_come + minimum,
            )
        if answer.fits:
            raise NoRoomYet("Waiting for disk behind a job that has waited longer for more.")
        raise NoRoomYet(
            f"Waiting for disk: {to_come} bytes are needed, other jobs will write {answer.others} of {space.free} free."
        )
