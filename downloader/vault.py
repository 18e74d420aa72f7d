"""A caller's Authorization header, sealed while its job is unfinished (Fernet: AES-128-CBC with HMAC-SHA256)."""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from cryptography.fernet import Fernet, InvalidToken

from downloader.config import Settings
from downloader.errors import ExtractionFailed


class Vault:
    """Seals and opens with one key."""

    def __init__(self, key: str) -> None:
        self._fernet = Fernet(key)

    @classmethod
    def from_settings(cls, settings: Settings) -> "Vault":
        """With SECRET_KEY, or the key in DATA_DIR/secret.key, which is generated (mode 0600) when it is missing."""
        return cls(settings.secret_key or _kept_key(settings.data_dir / "secret.key"))

    def seal(self, text: str) -> bytes:
        """``text`` as it may lie in the database."""
        return self._fernet.encrypt(text.encode())

    def open(self, sealed: bytes) -> str:
        """The text again; raises ExtractionFailed when the key is another one now."""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise ExtractionFailed(
                "The caller's authorization cannot be read: SECRET_KEY has changed since the job was posted."
            ) from None


def _kept_key(path: Path) -> str:
    """The key in ``path``; made whole beside it and linked into place, so that many processes may do so at once."""
    with suppress(FileNotFoundError):
        return path.read_text(encoding="ascii").strip()
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=".secret", mode="wb", delete=False) as fresh:
        fresh.write(Fernet.generate_key())
        fresh.flush()
        os.fsync(fresh.fileno())
    try:
        with suppress(FileExistsError):
            path.hardlink_to(fresh.name)
    finally:
        Path(fresh.name).unlink()
    return path.read_text(encoding="ascii").strip()
