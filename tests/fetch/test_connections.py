"""What happens to connections: TLS, reuse, policies, black holes, slowness."""

import contextlib
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from downloader.errors import BlockedAddress, DownloadError, UpstreamUnavailable
from downloader.fetch import transfer
from downloader.fetch.failures import curl_error
from downloader.fetch.guard import Policy
from downloader.fetch.limits import Limits
from downloader.fetch.probe import Probe
from downloader.fetch.route import Request, Router
from downloader.fetch.transfer import Wire
from tests.fetch.conftest import QUICK, Bench, settings_for, video
from tests.origin import Call, Origin, media_bytes

DATA = media_bytes(1_500_000)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "media.example.org")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("media.example.org")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return paths


def secure(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@pytest.mark.parametrize("trusted", [True, False])
def test_certificates_are_verified(
    bench: Bench,
    certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    trusted: bool,  # noqa: FBT001
) -> None:
    if trusted:
        monkeypatch.setitem(Wire.__init__.__kwdefaults__, "ca_file", str(certificate[0]))
    with Origin(tls=secure(certificate)) as origin:
        origin.add("/v.mp4", DATA)
        bench.resolve = (f"media.example.org:{origin.port}:127.0.0.1",)
        track = video(origin.url("/v.mp4", host="media.example.org"))
        if trusted:
            assert bench.bytes_of(bench.fetch(track)) == DATA
            return
        with pytest.raises(UpstreamUnavailable, match="certificate"):
            bench.fetch(track)


def test_tls_closed_without_notify(
    bench: Bench, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Wire.__init__.__kwdefaults__, "ca_file", str(certificate[0]))

    def script(call: Call) -> None:
        if call.number != 2:
            call.serve()
            return
        start, end = call.span or (0, len(DATA))
        call.head(206, f"Content-Range: bytes {start}-{end - 1}/{len(DATA)}", "Connection: close")
        call.body(DATA[start : (start + end) // 2])
        socket.socket.shutdown(call.sock, socket.SHUT_RDWR)
        call.keep = False

    with Origin(tls=secure(certificate)) as origin:
        origin.add("/v.mp4", DATA, script=script)
        bench.resolve = (f"media.example.org:{origin.port}:127.0.0.1",)
        assert bench.bytes_of(bench.fetch(video(origin.url("/v.mp4", host="media.example.org")))) == DATA


def test_a_lengthless_body_without_notify_is_not_whole(
    bench: Bench, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but the missing goodbye of TLS says that this body was cut."""
    monkeypatch.setitem(Wire.__init__.__kwdefaults__, "ca_file", str(certificate[0]))

    def script(call: Call) -> None:
        call.head(200, "Content-Type: video/mp4", "Connection: close")
        call.body(DATA[: len(DATA) // 2] if call.number == 1 else DATA)
        call.keep = False
        if call.number == 1:
            socket.socket.shutdown(call.sock, socket.SHUT_RDWR)
        else:
            with contextlib.suppress(OSError):
                call.sock.unwrap()  # type: ignore[attr-defined]

    with Origin(tls=secure(certificate)) as origin:
        origin.add("/v.mp4", DATA, script=script)
        bench.resolve = (f"media.example.org:{origin.port}:127.0.0.1",)
        assert bench.bytes_of(bench.fetch(video(origin.url("/v.mp4", host="media.example.org")))) == DATA
        assert origin.count() > 1


def test_reset_on_a_reused_connection(origin: Origin, bench: Bench) -> None:
    served: set[int] = set()

    def script(call: Call) -> None:
        if call.seen.connection in served:
            call.reset()
            return
        served.add(call.seen.connection)
        call.serve()

    url = origin.add("/v.mp4", media_bytes(6 << 20), etag='"one"', script=script)
    assert bench.bytes_of(bench.fetch(video(url))) == media_bytes(6 << 20)


def test_connections_are_reused(origin: Origin, bench: Bench) -> None:
    bench.options = {"download_workers": 1, "download_chunk_size": 1 << 20}
    url = origin.add("/v.mp4", media_bytes(6 << 20))
    bench.fetch(video(url))
    assert origin.count() >= 6
    assert origin.connections == 1


def test_just_below_the_low_speed_limit_is_a_stall(origin: Origin, bench: Bench) -> None:
    bench.limits = Limits(low_speed=20_000, low_speed_time=0.6, backoff=0.02, tick=0.02)

    def script(call: Call) -> None:
        if call.number == 1:
            call.resource = type(call.resource)(**(vars(call.resource) | {"rate": 12_000}))
        call.serve()

    url = origin.add("/v.mp4", DATA, etag='"one"', script=script)
    assert bench.bytes_of(bench.fetch(video(url))) == DATA


def test_a_black_holed_connect_is_given_up(bench: Bench) -> None:
    bench.limits = type(QUICK)(connect=0.3, attempts=2, backoff=0.02)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        clients = [socket.socket() for _ in range(4)]
        for client in clients:  # once its queue is full, the kernel answers no further connect
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        with pytest.raises(UpstreamUnavailable, match="did not answer in time"):
            bench.fetch(video(f"http://127.0.0.1:{full.getsockname()[1]}/v.mp4"))
        for client in clients:
            client.close()


class _Get:
    """A GET that drops what comes."""

    headers: tuple[str, ...] = ()
    patience = QUICK.media

    def __init__(self, request: Request) -> None:
        self.request = request
        self.outcome: list[DownloadError | None] = []

    def head(self, head: object) -> None:
        pass

    def body(self, data: bytes) -> None:
        pass

    def over(self, error: DownloadError | None) -> None:
        self.outcome.append(error)


def test_a_warm_connection_serves_its_own_policy_only(origin: Origin, tmp_path: Path) -> None:
    origin.add("/v.mp4", DATA)
    router = Router(settings_for(tmp_path, media_allow_networks=(), typetype_api_base=origin.url("")))
    wire = Wire(router, QUICK)
    trusted = router.request(origin.url("/v.mp4"))
    strict = Request(trusted.url, trusted.host, trusted.headers, Policy(), "header", None)
    first, second = _Get(trusted), _Get(strict)
    for get in (first, second):
        wire.start(get)
        while not get.outcome:
            wire.run(0.1)
    wire.close()
    assert first.outcome == [None]
    assert isinstance(second.outcome[0], BlockedAddress)
    assert origin.count() == 1


def test_the_check_before_each_request_judges_the_connected_address(origin: Origin, tmp_path: Path) -> None:
    """The name does not matter; test_rebinding shows it with a resolver."""
    origin.add("/v.mp4", DATA)
    router = Router(settings_for(tmp_path))
    wire = Wire(router, QUICK)
    allowed = router.request(origin.url("/v.mp4"))
    transfer_ = transfer._Transfer(_Get(Request(allowed.url, allowed.host, (), Policy(), "header", None)), None)  # type: ignore[arg-type]
    assert transfer_.before_request("127.0.0.1", "", 1, 1) == 1
    assert transfer_.before_request("8.8.8.8", "", 1, 1) == 0
    assert transfer_.blocked == "127.0.0.1"
    wire.close()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (92, "HTTP/2 stream"),
        (16, "HTTP/2 connection"),
        (56, "connection broke"),
        (18, "too early"),
        (52, "answered nothing"),
        (999, "error 999"),
    ],
)
def test_curls_codes_in_words(code: int, words: str) -> None:
    assert words in curl_error("host:1", code).message


def test_what_curl_does_not_take_leaves_nothing_behind(bench: Bench) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    router = Router(settings_for(bench.path))
    wire = Wire(router, bench.limits)
    probe = Probe(router.request("http://127.0.0.1:1/v.mp4"), bench.limits, lambda _found: None)
    probe.headers = ("If-Range: \x80",)
    with pytest.raises(UnicodeEncodeError):
        wire.start(probe)
    wire.abort(probe)
    wire.close()
    assert set(Path("/proc/self/fd").iterdir()) <= before
