"""The stage on which a storm plays: private servers, the misbehaving host, perhaps an S3 server, the whole service."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.config import Config

from downloader.embedded import Servers
from tests.service import Service, StandIn
from tests.standin.media import RECIPES
from tests.swift import server as swift

# Short leases, so that what waits for one to run out does not take a storm's whole time.
LEASE_SECONDS = 4.0


@dataclass
class Scene:
    """What a storm strikes and asks. ``store`` is the S3 server, None where artifacts lie on local disk."""

    folder: Path
    servers: Servers
    host: StandIn
    service: Service
    store: swift.Swift | None

    def processes(self) -> list[int]:
        """Every process of the service, of whatever parent: its environment or command line names our folder."""
        mark = str(self.service.data).encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                told = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
                if mark in told and int(folder.name) != os.getpid():
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def outlived(self, seconds: float = 10.0) -> list[int]:
        """The processes that are still there ``seconds`` after the service was to end."""
        deadline = time.monotonic() + seconds
        while (found := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found


@contextmanager
def scene(
    folder: Path,
    *,
    s3: bool = False,
    variables: Mapping[str, str] | None = None,
    roles: tuple[tuple[str, ...], ...] = (("stages", "up"),),
) -> Iterator[Scene]:
    """Everything started; the service still runs when the block is left, and is ended then."""
    with ExitStack() as stack:
        servers = Servers(folder)
        stack.callback(servers.stop)
        servers.start()
        # Made one after the other and before anybody asks: a storm is no test of how media are made.
        media = [name for name in RECIPES if not name.startswith("big")] + (["stout.mp4"] if s3 else [])
        host = StandIn(folder / "media", *media, module="tests.chaos.host")
        stack.callback(host.close)
        store = stack.enter_context(swift.running(folder / "swift")) if s3 else None
        given = {
            "WEB_WORKERS": "2",
            "MAX_CONCURRENT_WORKERS": "36",
            "LEASE_SECONDS": f"{LEASE_SECONDS:g}",
            "MAX_QUEUE_SIZE": "100000",
            **(_s3_variables(store) if store else {}),
            **(variables or {}),
        }
        urls = {"database_url": servers.database_url, "redis_url": servers.redis_url}
        service = Service(folder, base=host.base, variables=given, roles=roles, **urls)
        stack.enter_context(service)
        yield Scene(folder, servers, host, service, store)


def _s3_variables(store: swift.Swift) -> dict[str, str]:
    return {
        "STORAGE_BACKEND": "s3",
        "S3_ENDPOINT": store.endpoint,
        "S3_USE_SSL": "false",
        "S3_REGION": store.region,
        "S3_BUCKET": store.bucket,
        "S3_ACCESS_KEY": store.access_key,
        "S3_SECRET_KEY": store.secret_key,
    }


def s3_client(store: swift.Swift):
    """A client of the storm's own."""
    return boto3.client(
        "s3",
        endpoint_url=f"http://{store.endpoint}",
        region_name=store.region,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 5}),
    )
