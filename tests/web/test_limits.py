"""Clients that stop in the middle: of sending a body, of reading an answer."""

import socket
import tempfile

import gevent
import pytest
from flask import Request
from werkzeug.exceptions import BadRequest, RequestTimeout
from werkzeug.test import EnvironBuilder

from web import body, worker
from web.worker import ClientSocket

SOON = 5.0


class Input:
    """A body whose first read does what the test says."""

    def __init__(self, act):
        self.read = act


def request(act, **headers: str) -> Request:
    environ = EnvironBuilder(method="POST", headers={"Content-Type": "application/json"} | headers).get_environ()
    return Request(environ | {"wsgi.input": Input(act)})


def test_a_body_that_never_comes(monkeypatch):
    monkeypatch.setattr(body, "TIMEOUT_SECONDS", 0.01)
    with pytest.raises(RequestTimeout):
        body.read_json(request(lambda size: gevent.sleep(SOON)))


def test_a_body_whose_client_is_gone():
    def broken(size: int) -> bytes:
        raise ConnectionResetError

    with pytest.raises(BadRequest):
        body.read_json(request(broken))


@pytest.fixture
def pair(monkeypatch):
    """Our end of a connection, and a client's."""
    monkeypatch.setattr(worker, "STALL_SECONDS", 0.05)
    ours, theirs = socket.socketpair()
    connection = ClientSocket(ours.family, ours.type, ours.proto, fileno=ours.detach())
    with connection, theirs:
        yield connection, theirs


@pytest.fixture
def file():
    with tempfile.TemporaryFile() as made:
        made.write(bytes(range(256)) * 65_536)
        made.flush()
        yield made


def test_a_client_that_stops_reading_a_file(pair, file):
    with pytest.raises(BrokenPipeError), gevent.Timeout(SOON):
        pair[0].sendfile(file)
    assert 0 < pair[0].file_bytes < 16 << 20


def test_a_client_that_stops_reading_an_answer(pair):
    with pytest.raises(BrokenPipeError), gevent.Timeout(SOON):
        pair[0].sendall(bytes(16 << 20))


def test_a_file_shorter_than_promised(pair, file):
    with pytest.raises(BrokenPipeError), gevent.Timeout(SOON):
        pair[0].sendfile(file, offset=(16 << 20) - 10, count=20)
    assert pair[1].recv(100) == bytes(range(246, 256))


def test_a_part_of_a_file(pair, file):
    assert pair[0].sendfile(file, offset=3, count=7) == 7
    assert pair[1].recv(100) == bytes(range(3, 10))
