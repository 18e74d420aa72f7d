"""``downloader up`` starts everything, and ends everything, however it ends."""

import json
import os
import signal
import socket
from contextlib import contextmanager
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from downloader.cli import setting
from downloader.cli import up as up_command
from downloader.config import Settings
from downloader.errors import StoreUnavailable
from tests.cli.running import environment, free_port, processes_of, run, start
from tests.store.refusing import refusing
from tests.waiting import ended, until

# Seconds: a whole service starts and ends in two or three, on a machine that does nothing else.
PATIENCE = 60


@contextmanager
def up(env):
    """A listening ``downloader up``; gives the process and what it said."""
    process = start(env)
    try:
        line = process.stdout.readline()
        assert "listens on" in line, process.stderr.read()
        yield process, line
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_end_leaves_nothing(tmp_path, number):
    env = environment(tmp_path)
    with up(env) as (process, line):
        assert f"http://127.0.0.1:{env['HTTP_PORT']}" in line
        pids = processes_of(tmp_path)
        assert len(pids) > 10  # itself, two keepers, two servers, the supervisor, web, four stages, the janitor
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0
        assert all(ended(pid, PATIENCE) for pid in pids)
    assert processes_of(tmp_path) == []


def test_a_kill_ends_everything_and_the_next_start_works(tmp_path):
    env = environment(tmp_path)
    with up(env) as (process, _):
        pids = processes_of(tmp_path)
        process.kill()
        assert all(ended(pid, PATIENCE) for pid in pids)
    with up(env):
        assert run("jobs", "list", env=env).returncode == 0


@pytest.mark.parametrize("count", [1, 3, 6])
def test_a_signal_while_it_starts_leaves_nothing(tmp_path, count):
    process = start(environment(tmp_path))
    until(lambda: len(processes_of(tmp_path)) > count, PATIENCE)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert processes_of(tmp_path) == []


def test_a_start_that_fails_says_why_and_leaves_nothing(tmp_path):
    cluster = tmp_path / "private" / "postgres" / "cluster"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("9\n")
    done = run("up", env=environment(tmp_path))
    assert done.returncode == 1
    assert "made by Postgres 9" in done.stderr
    assert "Traceback" not in done.stderr
    assert processes_of(tmp_path) == []


def test_a_port_in_use_is_said_at_once(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run("up", env=environment(tmp_path, HTTP_PORT=port))
    assert done.returncode == 1
    assert f"127.0.0.1:{port} cannot be listened on" in done.stderr
    assert "Set HTTP_PORT to a free port" in done.stderr
    assert not (tmp_path / "private").exists()


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("192.0.2.1:{port}", "Set HTTP_ADDR to an address of this machine"),
        ("192.0.2.1", "Set HTTP_ADDR to an address of this machine"),
        ("127.0.0.1:{port}", "Set HTTP_ADDR to a free port"),
    ],
)
def test_an_address_that_cannot_be_had_is_blamed(tmp_path, address, advice):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        given = address.format(port=taken.getsockname()[1])
        done = run("up", env=environment(tmp_path, HTTP_ADDR=given))
    assert done.returncode == 1
    assert advice in done.stderr
    assert given in done.stderr


def test_it_says_where_it_really_listens(tmp_path):
    port = free_port()
    env = environment(tmp_path, HTTP_ADDR=f":{port}", HTTP_PORT="1")
    with up(env) as (_, line):
        assert f"listens on 0.0.0.0:{port}, here http://127.0.0.1:{port} " in line
        shown = run("jobs", "show", "a", env=env)
    assert "There is no such job." in shown.stderr


def test_servers_that_are_set_are_used(tmp_path, database_url, redis_url, redis_prefix):
    env = environment(tmp_path, DATABASE_URL=database_url, REDIS_URL=redis_url, REDIS_QUEUE_KEY=redis_prefix)
    with up(env) as (process, _):
        assert not (tmp_path / "private").exists()
        process.terminate()
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    assert "private_" not in said


def test_what_is_private_is_told_with_the_variables_that_count(tmp_path):
    with up(environment(tmp_path, REDIS_PORT="6379", DATABASE_URI="postgres://db/d")) as (process, _):
        process.terminate()
        _, said = process.communicate(timeout=PATIENCE)
    lines = {line["event"]: line for line in map(json.loads, said.splitlines()) if "event" in line}
    assert lines["private_postgres"]["reason"] == "DATABASE_URL or DB_URL is not set"
    assert lines["private_valkey"]["reason"] == "REDIS_URL, REDIS_ADDR or REDIS_HOST is not set"
    assert lines["unknown_variable"]["meant"] == "DATABASE_URL"


def test_a_variable_that_does_not_parse_is_named(tmp_path):
    done = run("up", env=environment(tmp_path, DOWNLOAD_WORKERS="many"))
    assert done.returncode == 1
    assert "DOWNLOAD_WORKERS" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("up", env=environment(tmp_path / "file" / "data"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "file") in done.stderr


def test_a_private_folder_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "private").write_text("")
    done = run("up", env=environment(tmp_path))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "private") in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="root runs the servers as another user")
def test_root_lends_the_servers_another_user(tmp_path):
    with up(environment(tmp_path)):
        for name in ("postgres", "valkey"):
            assert (tmp_path / "private" / name).stat().st_uid != 0


@pytest.fixture
def no_pause(monkeypatch):
    """Time does not pass while ``up`` waits; gives how often it would have."""
    pauses = []
    monkeypatch.setattr(up_command.time, "sleep", pauses.append)
    return pauses


@pytest.mark.parametrize("message", ['password authentication failed for user "u"', 'database "d" does not exist'])
def test_a_postgres_that_refuses_ends_the_start_at_once(no_pause, message):
    with refusing("28P01", message) as dsn, capture_logs() as logged, pytest.raises(setting.Refused) as caught:
        up_command._migrate(Settings(database_url=dsn), dsn)
    assert str(caught.value).startswith("DATABASE_URL ")
    assert message in str(caught.value)
    assert (no_pause, logged) == ([], [])


def test_a_refusal_is_said_by_every_command_that_migrates(tmp_path):
    with refusing("28P01", 'password authentication failed for user "u"') as dsn:
        env = environment(tmp_path, DATABASE_URL=dsn, REDIS_URL="redis://127.0.0.1:9/0")
        for command in ("up", "migrate"):
            done = run(command, env=env)
            assert done.returncode == 1
            assert done.stderr.startswith("Error: DATABASE_URL ")
            assert len(done.stderr.splitlines()) == 1
            assert "s3cret" not in done.stdout + done.stderr


def test_a_postgres_that_starts_is_waited_for_with_one_warning(no_pause, monkeypatch):
    answers = [StoreUnavailable("It is starting up.")] * 3 + [["0001"]]
    monkeypatch.setattr(up_command, "migrate", Mock(side_effect=answers))
    with capture_logs() as logged:
        up_command._migrate(Settings(database_url="postgresql://u:s3cret@h/d"), "postgresql://u:s3cret@h/d")
    assert len(no_pause) == 3
    assert [line["event"] for line in logged if line["log_level"] == "warning"] == ["waiting_for_postgres"]
    assert "DATABASE_URL" in logged[0]["reason"]
    assert "s3cret" not in str(logged)


def test_a_postgres_that_stays_away_ends_the_start(monkeypatch):
    monkeypatch.setattr(up_command, "DATABASE_PATIENCE_SECONDS", -1.0)
    dsn = "postgresql://127.0.0.1:9/none"
    with pytest.raises(setting.Refused, match=r"DATABASE_URL .* cannot be reached"):
        up_command._migrate(Settings(database_url=dsn), dsn)


def test_a_private_postgres_is_nobodys_variable(monkeypatch):
    monkeypatch.setattr(up_command, "DATABASE_PATIENCE_SECONDS", -1.0)
    with pytest.raises(setting.Refused, match=r"^Postgres cannot be reached"):
        up_command._migrate(Settings(), "postgresql://127.0.0.1:9/none")
