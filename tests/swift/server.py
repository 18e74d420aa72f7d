"""A real S3 server for tests: OpenStack Swift with s3api, four processes on free ports, one device, one replica."""

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

REGION = "garage"
ACCESS_KEY = "test:tester"
SECRET_KEY = "testing"
BUCKET = "artifacts"
DOMAIN = "s3.test"
"""Where buckets are hosts of their own: ``artifacts.s3.test``, for clients that are told where that is."""

_SERVER = """[DEFAULT]
devices = {folder}/devices
mount_check = false
disable_fallocate = true
swift_dir = {folder}
log_name = {role}
log_level = ERROR
log_address = {folder}/no-syslog

[pipeline:main]
pipeline = server

[app:server]
use = egg:swift#{role}
fallocate_reserve = 0
"""

_PROXY = """[DEFAULT]
swift_dir = {folder}
log_name = proxy
log_level = ERROR
log_address = {folder}/no-syslog

[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck listing_formats s3api tempauth slo proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
conn_timeout = 5
node_timeout = 30
client_chunk_size = 262144
object_chunk_size = 262144

[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:slo]
use = egg:swift#slo
max_manifest_segments = 10000
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:s3api]
use = egg:swift#s3api
location = {region}
storage_domain = {domain}
max_upload_part_num = 10000
"""


@dataclass(frozen=True)
class Swift:
    """A running server: ``endpoint`` as S3_ENDPOINT takes it (``host:port``), and what its one user signs with."""

    endpoint: str
    region: str
    access_key: str
    secret_key: str
    bucket: str
    devices: Path


def available() -> bool:
    """True when Swift and what it stores its metadata with are installed."""
    try:
        import pyeclib.ec_iface  # noqa: F401
        import swift  # noqa: F401
        import xattr  # noqa: F401
    except ImportError:
        return False
    return True


@contextmanager
def running(folder: Path) -> Iterator[Swift]:
    """Start the server with its data in ``folder`` and make the bucket; all of it ends with the block or with us."""
    (folder / "devices" / "d1").mkdir(parents=True)
    with ExitStack() as stack:
        listeners = {role: stack.enter_context(_listener()) for role in ("account", "container", "object", "proxy")}
        for role in ("account", "container", "object"):
            _ring(folder, role, listeners[role].getsockname()[1])
        for role, listener in listeners.items():
            template = _PROXY if role == "proxy" else _SERVER
            config = folder / f"{role}.conf"
            config.write_text(template.format(folder=folder, role=role, region=REGION, domain=DOMAIN))
            stack.enter_context(_process(config, listener, folder / f"{role}.log"))
        endpoint = "127.0.0.1:{}".format(listeners["proxy"].getsockname()[1])
        _make_bucket(endpoint, folder)
        yield Swift(endpoint, REGION, ACCESS_KEY, SECRET_KEY, BUCKET, folder / "devices")
    shutil.rmtree(folder, ignore_errors=True)


def _listener() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    return listener


def _ring(folder: Path, role: str, port: int) -> None:
    from swift.common.ring import RingBuilder

    builder = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
    builder.add_dev(
        {
            "id": 0,
            "region": 1,
            "zone": 1,
            "ip": "127.0.0.1",
            "port": port,
            "device": "d1",
            "weight": 1.0,
            "replication_ip": "127.0.0.1",
            "replication_port": port,
            "meta": "",
        }
    )
    builder.rebalance()
    builder.get_ring().save(str(folder / f"{role}.ring.gz"))


@contextmanager
def _process(config: Path, listener: socket.socket, log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.swift.serve", str(config), str(listener.fileno())],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=[listener.fileno()],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
    try:
        yield
    finally:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()


def _make_bucket(endpoint: str, folder: Path) -> None:
    import boto3
    from botocore.config import Config

    _await_answer(endpoint, folder)
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{endpoint}",
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 5}),
    )
    client.create_bucket(Bucket=BUCKET)
    client.close()


def _await_answer(endpoint: str, folder: Path, deadline: float = 120.0) -> None:
    # The sockets listen already, so one request simply waits until the proxy has started.
    end = time.monotonic() + deadline
    with suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection(endpoint, timeout=end - time.monotonic())
        connection.request("GET", "/healthcheck")
        if connection.getresponse().read() == b"OK":
            connection.close()
            return
    logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(folder.glob("*.log")))
    raise RuntimeError(f"Swift did not start: {logs}")
