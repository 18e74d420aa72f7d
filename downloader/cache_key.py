"""Which jobs are equal: same URL, same normalized options, same caller."""

import hashlib

import msgspec

from downloader.job import Options


def cache_key(url: str, options: Options, authorization: str | None) -> str:
    """The hex SHA-256 over the three. JSON keeps them apart; default options are left out of it."""
    text = msgspec.json.encode([url, msgspec.to_builtins(options), authorization], order="sorted")
    return hashlib.sha256(text).hexdigest()
