"""TLS: a server whose certificate is trusted answers, any other is refused."""

import datetime as dt
import ipaddress
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from downloader.typetype.http import Connection, TransferFailed


class Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_):
        """Say nothing."""


class Quiet(HTTPServer):
    def handle_error(self, *_):
        """A client that refuses our certificate is what one test is about."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls") / "certificate.pem")


def make_certificate(path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "TypeType-Server")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture
def url(certificate):
    server = Quiet(("127.0.0.1", 0), Hello)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def get(url, ca_file):
    connection = Connection(ca_file)
    try:
        return connection.get(url, [], seconds=10, max_bytes=100, check=lambda: None)
    finally:
        connection.close()


def test_a_trusted_certificate(url, certificate):
    answer = get(url, str(certificate))
    assert (answer.status, answer.body) == (200, b"hello")


def test_an_untrusted_certificate(url, tmp_path):
    another = make_certificate(tmp_path / "another.pem")
    with pytest.raises(TransferFailed, match="certificate is not trusted"):
        get(url, str(another))


def test_closing_waits_for_no_name_server() -> None:
    """Curl joins the thread that looks a name up, which may take as long as a resolver that does not answer."""
    answered, closed = threading.Event(), threading.Event()

    class Stuck:
        def close(self) -> None:
            answered.wait(20)
            closed.set()

    connection = Connection()
    connection._multi = Stuck()  # what curl does there cannot be brought about on loopback
    connection.close()
    assert not closed.is_set()
    answered.set()
    assert closed.wait(20)
