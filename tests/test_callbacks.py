"""Callbacks against a real receiver: what it gets, and who is never called."""

import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from downloader.callback_post import send
from downloader.callbacks import SIGNATURE_HEADER, TIMESTAMP_HEADER, allowed, sign
from downloader.config import Settings
from downloader.errors import BlockedAddress, SourceForbidden, UpstreamUnavailable
from tests.certificates import certificate
from tests.receiver import Receiver

SETTINGS = Settings(callback_allow_hosts=("127.0.0.1", "hooks.example.com", "::1"), callback_secret="shared secret")


class FixedClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 21, 1, 2, 3, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def test_a_known_signature() -> None:
    # By: printf '1700000000.{"id":"a"}' | openssl dgst -sha256 -hmac secret
    assert sign("secret", 1700000000, b'{"id":"a"}') == (
        "sha256=24d16fb59a06bae8d031d22eb88b663480215741cc94a5cd046993fa9ea6ac23"
    )


def test_a_signed_post_arrives(receiver: Receiver) -> None:
    send(receiver.url, b'{"id":"a"}', SETTINGS, FixedClock())
    ((path, headers, body),) = receiver.got
    assert path == "/hook?x=1"
    assert body == b'{"id":"a"}'
    assert headers["Content-Type"] == "application/json"
    assert headers[TIMESTAMP_HEADER] == str(int(FixedClock().now().timestamp()))
    assert headers[SIGNATURE_HEADER] == sign("shared secret", int(headers[TIMESTAMP_HEADER]), body)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, SourceForbidden),
        (307, SourceForbidden),
        (400, SourceForbidden),
        (410, SourceForbidden),
        (408, UpstreamUnavailable),
        (429, UpstreamUnavailable),
        (500, UpstreamUnavailable),
        (503, UpstreamUnavailable),
    ],
)
def test_other_answers_are_errors(receiver: Receiver, status: int, kind: type[Exception]) -> None:
    receiver.status = status
    with pytest.raises(kind):
        send(receiver.url, b"{}", SETTINGS)
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Sat, 21 Nov 2026 01:04:03 GMT", 120.0),
        ("Sat, 21 Nov 2026 01:00:00 GMT", 0.0),
        ("-5", None),
        ("soon", None),
        ("", None),
    ],
)
def test_a_receiver_may_say_when_to_come_again(receiver: Receiver, value: str, seconds: float | None) -> None:
    receiver.status, receiver.headers = 503, {"Retry-After": value}
    with pytest.raises(UpstreamUnavailable) as raised:
        send(receiver.url, b"{}", SETTINGS, FixedClock())
    assert raised.value.retry_after == seconds


@pytest.mark.parametrize("trusted", [True, False])
def test_a_receiver_must_show_a_certificate_that_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, trusted: bool
) -> None:
    authority, key = certificate(tmp_path, "localhost")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority, key)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    settings = replace(SETTINGS, callback_allow_hosts=("localhost",))
    with Receiver(tls) as receiver:
        if trusted:
            send(receiver.url, b"{}", settings)
        else:
            with pytest.raises(UpstreamUnavailable, match="curl 60"):
                send(receiver.url, b"{}", settings)
        assert len(receiver.got) == trusted


def test_an_endless_answer_is_not_read(receiver: Receiver) -> None:
    receiver.status, receiver.answer = 200, bytes(10 << 20)
    send(receiver.url, b"{}", SETTINGS)


def test_a_receiver_that_is_away_is_tried_again() -> None:
    with pytest.raises(UpstreamUnavailable) as raised:
        send("http://127.0.0.1:1/secret-path", b"{}", SETTINGS)
    assert "secret-path" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/hook",
        "http://hooks.example.com.evil.com/",
        "http://evil.com/hooks.example.com",
        "http://hooks.example.com@evil.com/",
        "http://user:password@hooks.example.com/",
        "http://evil.com\\@hooks.example.com/",
        "http://hooks.example.com\\.evil.com/",
        "http://hooks.example.com\r\nHost: evil.com/",
        "http://hooks.example.com:99999/",
        "http://2130706433/",
        "http://[::ffff:127.0.0.1]/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "//hooks.example.com/",
        "hooks.example.com",
        "http://hooks.example.com./",
        "http://hööks.example.com/",
        "http://[::1",
        "",
    ],
)
def test_who_is_never_called(url: str) -> None:
    assert not allowed(url, SETTINGS.callback_allow_hosts)
    with pytest.raises(BlockedAddress):
        send(url, b"{}", SETTINGS)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/a?b=c#d",
        "https://HOOKS.example.com:8443/",
        "http://127.0.0.1:80",
        "http://[::1]:8080/x",
    ],
)
def test_who_may_be_called(url: str) -> None:
    assert allowed(url, SETTINGS.callback_allow_hosts)
    assert not allowed(url, Settings().callback_allow_hosts)
