"""A job in a network of its own, whose name server changes its mind. Run by test_rebinding, in namespaces.

The name ``media.example`` leads to a public address at first and to a private one from the second question on. Each
scenario prints one line of JSON (the first line is how long a cancel took while no name server answered): the code the job ended with, the connections that reached the private address, the
addresses that were answered, and what is left on disk.
"""

import fcntl
import json
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from downloader.errors import Cancelled, DownloadError, UpstreamUnavailable
from downloader.fetch.limits import Limits
from tests.fetch.conftest import QUICK, Bench, video
from tests.origin import Call, Origin, media_bytes

PUBLIC, PRIVATE, RESOLVER = "93.184.215.14", "10.7.7.7", "127.0.0.53"
NAME = "media.example"
DATA = media_bytes(500_000)

_UP, _SET_ADDRESS, _SET_FLAGS, _GET_FLAGS = 0x1, 0x8916, 0x8914, 0x8913


def configure(addresses: tuple[str, ...]) -> None:
    """Bring the loopback device up with these addresses besides its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number, address in enumerate(addresses):
            name = f"lo:{number}".encode()
            request = struct.pack("16sH2s4s8s", name, socket.AF_INET, bytes(2), socket.inet_aton(address), bytes(8))
            fcntl.ioctl(sock, _SET_ADDRESS, request)
        flags = struct.unpack("16sh", fcntl.ioctl(sock, _GET_FLAGS, struct.pack("16sh", b"lo", 0)))[1]
        fcntl.ioctl(sock, _SET_FLAGS, struct.pack("16sh", b"lo", flags | _UP))


@dataclass
class NameServer:
    """Answers every question about IPv4 with the next of ``answers`` (the last one for good); never when it has none."""

    answers: list[list[str]]
    given: list[list[str]] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def serving(self) -> Iterator["NameServer"]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((RESOLVER, 53))
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            thread.start()
            yield self
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as goodbye:
                goodbye.sendto(b"", (RESOLVER, 53))
            thread.join(5)

    def _serve(self, sock: socket.socket) -> None:
        while True:
            query, peer = sock.recvfrom(512)
            if not query:
                return
            self.asked.set()
            if self.answers:
                sock.sendto(self._reply(query), peer)

    def _reply(self, query: bytes) -> bytes:
        end = query.index(b"\x00", 12) + 5  # behind name, type and class
        found: list[str] = []
        if query[end - 4 : end - 2] == b"\x00\x01":
            found = self.answers[min(len(self.given), len(self.answers) - 1)]
            self.given.append(found)
        head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, len(found), 0, 0)
        records = (b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(address) for address in found)
        return head + query[12:end] + b"".join(records)


@dataclass
class Scene:
    """One scenario's parts: ``inner`` listens where the private address leads, on the same port or another one."""

    bench: Bench
    public: Origin
    inner: socket.socket

    def url(self, port: int | None = None) -> str:
        return f"http://{NAME}:{port or self.public.port}/v.mp4"

    def reached(self) -> int:
        """How many connections the private address has got; each is closed."""
        count = 0
        while True:
            try:
                self.inner.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1


def scene(stack: ExitStack, *, same_port: bool) -> Scene:
    bench = Bench(Path(stack.enter_context(tempfile.TemporaryDirectory())))
    bench.options = {"media_allow_networks": ()}
    bench.limits = replace(QUICK, connect=20.0, first_byte=20.0, low_speed_time=20)
    public = stack.enter_context(Origin(PUBLIC))
    public.add("/v.mp4", DATA)
    inner = stack.enter_context(socket.create_server((PRIVATE, public.port if same_port else 0)))
    inner.setblocking(False)
    return Scene(bench, public, inner)


def redirected(stack: ExitStack) -> Scene:
    """Within one job: the public host redirects to another port of its own name, which leads inside by then."""
    made = scene(stack, same_port=False)
    target = made.url(made.inner.getsockname()[1])
    made.public.add("/v.mp4", DATA, script=lambda call: call.status(302, f"Location: {target}"))
    return made


def resumed(stack: ExitStack) -> Scene:
    """Between two attempts of one job: the first one breaks at the public host, the second asks for the name again."""
    made = scene(stack, same_port=True)

    def script(call: Call) -> None:
        call.serve() if call.number < 2 else call.status(503)

    made.public.add("/v.mp4", media_bytes(4 << 20), script=script)
    with pytest.raises(UpstreamUnavailable):
        made.bench.fetch(video(made.url()), deadline=None)
    made.bench.epoch = 2
    return made


def mixed(stack: ExitStack) -> Scene:
    """One answer that names both: the private one first."""
    return scene(stack, same_port=True)


def steady(stack: ExitStack) -> Scene:
    """The name leads to the public address for good: what all of this looks like when nothing is wrong."""
    return scene(stack, same_port=True)


def careless(stack: ExitStack) -> Scene:
    """As ``redirected``, but the private network is allowed: the answer does lead there."""
    made = redirected(stack)
    made.bench.options = {"media_allow_networks": (ip_network("10.0.0.0/8"),)}
    made.bench.limits = replace(QUICK, first_byte=0.3, attempts=1)
    return made


SCENARIOS = {
    "redirected": (redirected, [[PUBLIC], [PRIVATE]]),
    "resumed": (resumed, [[PUBLIC], [PRIVATE]]),
    "mixed": (mixed, [[PRIVATE, PUBLIC]]),
    "steady": (steady, [[PUBLIC]]),
    "careless": (careless, [[PUBLIC], [PRIVATE]]),
}


def play(name: str) -> dict[str, object]:
    """One scenario from beginning to end."""
    build, answers = SCENARIOS[name]
    with ExitStack() as stack:
        names = stack.enter_context(NameServer(answers).serving())
        made = build(stack)
        try:
            code = (
                "" if made.bench.bytes_of(made.bench.fetch(video(made.url()), deadline=None)) == DATA else "wrong bytes"
            )
        except DownloadError as error:
            code = error.code
        return {
            "code": code,
            "reached": made.reached(),
            "answers": sorted({address for answer in names.given for address in answer}),
            "asked": made.public.count(),
            "left": made.bench.left(),
        }


def cancelled_while_resolving() -> float:
    """How many seconds a job takes to end that is cancelled while its name server does not answer."""
    with ExitStack() as stack:
        names = stack.enter_context(NameServer([]).serving())
        made = scene(stack, same_port=True)
        made.bench.limits = Limits()
        since: list[float] = []

        def check() -> None:
            if names.asked.is_set():
                since.append(time.monotonic())
                raise Cancelled("The job was cancelled.")

        with pytest.raises(Cancelled):
            made.bench.fetch(video(made.url()), check=check, deadline=None)
        return time.monotonic() - since[0]


if __name__ == "__main__":
    configure((PUBLIC, PRIVATE))
    print(json.dumps(cancelled_while_resolving()), flush=True)
    for scenario in sys.argv[1:]:
        print(json.dumps(play(scenario)), flush=True)
