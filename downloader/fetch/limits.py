"""How patient the engine is: one value, so that tests and operators see every limit at once."""

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Patience:
    """When a connection counts as stalled.

    No head after ``first_byte`` seconds, or fewer than ``low_speed`` bytes per second for ``low_speed_time`` seconds.
    """

    first_byte: float
    low_speed: int
    low_speed_time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds, bytes and counts."""

    connect: float = 10.0  # name, TCP and TLS together
    first_byte: float = 20.0  # from the request to the end of the response's head
    low_speed: int = KIB  # bytes per second below which, for low_speed_time, a connection counts as stalled
    low_speed_time: float = 20.0
    sabr_stall: float = 60.0  # seconds that TypeType-Server may take to come by the next bytes

    attempts: int = 6  # of one range without progress, before the track is given up
    faults: int = 3  # breaches of the range protocol before a host is asked for the whole in one piece
    restarts: int = 3  # how often a changed object is started anew
    backoff: float = 0.5  # first pause; doubles with each failure, half of it random
    backoff_cap: float = 20.0
    retry_after_cap: float = 90.0
    redirects: int = 5

    first_chunk: int = MIB  # a start is quick with small chunks; they double up to DOWNLOAD_CHUNK_SIZE
    takeover_min: int = 128 * KIB  # a rest smaller than this is taken over whole rather than shared
    crawl_after: float = 1.0  # seconds before a connection is judged against its siblings
    crawl_ratio: float = 0.1  # of the siblings' median speed

    subtitle_bytes: int = 16 * MIB
    image_bytes: int = 32 * MIB
    playlist_bytes: int = 8 * MIB
    key_bytes: int = KIB

    tick: float = 0.05  # how often cancel, patience and progress are looked at

    @property
    def media(self) -> Patience:
        """With media hosts."""
        return Patience(self.first_byte, self.low_speed, self.low_speed_time)

    @property
    def sabr(self) -> Patience:
        """With TypeType-Server while it streams."""
        return Patience(max(self.first_byte, self.sabr_stall), 1, self.sabr_stall)
