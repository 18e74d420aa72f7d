"""Callbacks: what is said of an ended job, how that is signed, and to whom it may go (``callback_post`` sends it).

A receiver recomputes the signature over ``<timestamp>.<body>`` with the shared secret, and refuses old timestamps.
"""

import hashlib
import hmac
from collections.abc import Collection
from datetime import UTC
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from downloader.clock import Clock
from downloader.job import Job

TIMESTAMP_HEADER: Final = "X-TypeType-Timestamp"
SIGNATURE_HEADER: Final = "X-TypeType-Signature"


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """``sha256=`` and the hex HMAC-SHA256 of ``<timestamp>.<body>``; ``timestamp`` in seconds since 1970."""
    message = str(timestamp).encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def allowed(url: str, hosts: Collection[str]) -> bool:
    """True when callbacks may go to ``url``: plain http or https, to one of ``hosts`` (lower case), no user in it."""
    return target(url, hosts) is not None


def body(job: Job, base: str, clock: Clock) -> bytes:
    """How an ended ``job`` is told, as JSON: camelCase, absent rather than null; links stand below ``base``."""
    artifact = job.artifact
    standing = artifact is not None and (artifact.expires_at is None or artifact.expires_at > clock.now())
    fields: dict[str, Any] = {
        "id": job.id,
        "url": job.url,
        "status": job.status,
        "stage": job.stage,
        "errorCode": job.error_code,
        "error": job.error,
        "title": job.title or None,
        "artifactUrl": f"{base}/jobs/{job.id}/artifact" if standing else None,
        "finishedAt": job.finished_at.astimezone(UTC) if job.finished_at else None,
        "totalMs": job.total_ms,
    }
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def target(url: str, hosts: Collection[str]) -> SplitResult | None:
    """``url`` as it will be asked for, without its fragment; None when callbacks may not go there."""
    # What parsers disagree about is refused, so that the host that is checked is the host that is called.
    if not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>{}|^`'):
        return None
    try:
        split = urlsplit(url)
        host, port = split.hostname or "", split.port
    except ValueError:
        return None
    if split.scheme not in ("http", "https") or "@" in split.netloc or host not in hosts:
        return None
    netloc = f"[{host}]" if ":" in host else host
    return split._replace(netloc=f"{netloc}:{port}" if port else netloc, fragment="")
