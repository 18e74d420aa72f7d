"""A caller's Authorization header, sealed while its job is unfinished (Fernet: AES-128-CBC with HMAC-SHA256)."""

from cryptography.fernet import Fernet, InvalidToken

from downloader.config import Settings
from downloader.errors import ExtractionFailed
from downloader.kept import kept


class Vault:
    """Seals and opens with one key."""

    def __init__(self, key: str) -> None:
        self._fernet = Fernet(key)

    @classmethod
    def from_settings(cls, settings: Settings) -> "Vault":
        """With SECRET_KEY, or the key in DATA_DIR/secret.key, which is generated (mode 0600) when it is missing."""
        return cls(settings.secret_key or kept(settings.data_dir / "secret.key", _fresh))

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


def _fresh() -> str:
    return Fernet.generate_key().decode()
