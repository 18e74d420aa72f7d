"""The private servers start, stay, and end with their owner, however that one ends."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest
import redis

from downloader import embedded
from downloader.embedded import account, postgres_server, process
from tests.waiting import ended, processes_in, until


def select_one(dsn: str) -> bool:
    try:
        connection = psycopg2.connect(dsn)
    except psycopg2.OperationalError:
        return False
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return cursor.fetchone() == (1,)
    finally:
        connection.close()


def ping(url: str) -> bool:
    client = redis.Redis.from_url(url)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Both servers, for the tests that leave them running."""
    found = embedded.Servers(tmp_path_factory.mktemp("servers"), fsync=False)
    found.start()
    yield found
    found.stop()


@contextmanager
def owner(folder: Path):
    """A process of its own that owns servers in ``folder``; gives it and where they listen."""
    command = [sys.executable, "-m", "tests.embedded.owner", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as found:
        try:
            yield found, json.loads(found.stdout.readline())
        finally:
            found.kill()


def execute(dsn: str, statement: str) -> list[tuple]:
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def test_rows_stand_after_a_restart_at_the_same_address(servers):
    before = servers.database_url
    execute(before, "CREATE TABLE kept AS SELECT 7 AS n")
    assert servers.restart_postgres() == before
    assert execute(before, "SELECT n FROM kept") == [(7,)]


def test_valkey_is_empty_after_a_restart_at_the_same_address(servers):
    client = redis.Redis.from_url(servers.redis_url)
    client.set("gone", "1")
    client.close()
    before = servers.redis_url
    assert servers.restart_valkey() == before
    client = redis.Redis.from_url(before)
    assert client.get("gone") is None
    client.close()


def test_a_killed_server_is_started_again(servers):
    old = servers.postgres.server_pid(), servers.valkey.server_pid()
    servers.kill_postgres()
    servers.kill_valkey()
    until(lambda: servers.postgres.server_pid() not in (None, old[0]) and select_one(servers.database_url))
    until(lambda: servers.valkey.server_pid() not in (None, old[1]) and ping(servers.redis_url))


def test_nobody_else_may_connect(servers):
    assert execute(servers.database_url, "SHOW listen_addresses") == [("",)]
    for server in (servers.postgres, servers.valkey):
        assert server.folder.stat().st_mode & 0o077 == 0


def test_fsync_is_on_unless_told_otherwise(tmp_path):
    with embedded.postgres(tmp_path / "postgres") as dsn:
        assert execute(dsn, "SHOW fsync") == [("on",)]


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_servers_end_when_their_owner_is_killed(tmp_path, signal_number):
    with owner(tmp_path) as (process_, _):
        pids = processes_in(tmp_path)
        assert len(pids) > 4  # two keepers, the postmaster and its children, Valkey
        process_.send_signal(signal_number)
        assert all(ended(pid) for pid in pids)


def test_a_server_ends_when_its_keeper_is_killed(tmp_path):
    with embedded.valkey(tmp_path / "valkey"):
        keeper, server = sorted(processes_in(tmp_path))
        os.kill(keeper, signal.SIGKILL)
        assert ended(server)


def test_postgres_ends_when_its_keeper_is_killed(tmp_path):
    server = embedded.Postgres(tmp_path, fsync=False)
    server.start()
    pids = processes_in(tmp_path)
    os.kill(server._kept._keeper.pid, signal.SIGKILL)
    assert all(ended(pid) for pid in pids)
    server.stop()


def test_the_next_start_waits_for_the_servers_of_a_killed_owner(tmp_path):
    with owner(tmp_path) as (process_, before):
        execute(before["dsn"], "CREATE TABLE kept AS SELECT 7 AS n")
        process_.kill()
        servers = embedded.Servers(tmp_path, fsync=False)
        servers.start()
        assert servers.database_url == before["dsn"]
        assert execute(servers.database_url, "SELECT n FROM kept") == [(7,)]
        servers.stop()
    assert processes_in(tmp_path) == []


def test_a_server_that_lost_keeper_and_owner_is_ended_by_the_next_start(tmp_path, monkeypatch):
    script = "import fcntl, sys; lock = open('lock', 'w'); fcntl.flock(lock, 2); print(flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    orphan = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stdin=pipe, stdout=pipe)
    assert orphan.stdout.readline() == b"\n"
    monkeypatch.setattr(process, "LEAVE_SECONDS", 0.5)
    os.close(process.Lock(tmp_path.resolve()).take())
    orphan.communicate()
    assert orphan.returncode == -signal.SIGKILL


def test_two_owners_of_one_folder_are_refused_at_once(tmp_path):
    with owner(tmp_path) as (process_, _):
        servers = embedded.Servers(tmp_path, fsync=False)
        with pytest.raises(embedded.ServerFailed, match=f"Process {process_.pid} already runs"):
            servers.start()


def test_a_folder_below_a_closed_one(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    servers = embedded.Servers(closed / "data", fsync=False)
    servers.start()
    assert select_one(servers.database_url)
    assert ping(servers.redis_url)
    servers.stop()


def test_a_path_too_long_for_a_socket(tmp_path):
    folder = tmp_path / ("x" * 100)
    with embedded.valkey(folder / "valkey") as url:
        assert ping(url)
        temporary = (folder / "valkey" / "run").readlink()
        assert temporary.is_dir()
    assert not temporary.exists()


def test_a_temporary_socket_folder_of_a_killed_run_is_removed(tmp_path):
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    left_behind = process.socket_folder(folder)
    (left_behind / "socket").touch()
    fresh = process.socket_folder(folder)
    assert fresh == left_behind, "who is connected finds the server again"
    assert not list(fresh.iterdir())
    process.remove_socket_folder(folder)
    assert not fresh.exists()


def test_a_temporary_name_that_a_stranger_took_is_left_to_him(tmp_path):
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    taken = process.socket_folder(folder)
    process.remove_socket_folder(folder)
    taken.touch()
    other = process.socket_folder(folder)
    assert other != taken
    assert other.is_dir()
    process.remove_socket_folder(folder)
    assert not other.exists()
    taken.unlink()


def test_a_cluster_of_another_version_is_refused(tmp_path):
    cluster = tmp_path / "cluster"
    cluster.mkdir()
    (cluster / "PG_VERSION").write_text("12\n")
    with pytest.raises(embedded.ServerFailed, match="made by Postgres 12"):
        embedded.Postgres(tmp_path).start()


def test_a_start_that_fails_says_what_the_server_said_and_leaves_nothing(tmp_path):
    server = embedded.Postgres(tmp_path, fsync=False)
    server.start()
    server.stop()
    (tmp_path / "cluster" / "global" / "pg_control").unlink()
    with pytest.raises(embedded.ServerFailed, match="could not"):
        server.start()
    assert processes_in(tmp_path) == []


@pytest.mark.parametrize("named", [True, False])
def test_a_user_without_a_name_is_told_what_to_do(tmp_path, monkeypatch, named):
    (tmp_path / "initdb").write_text("#!/bin/sh\necho it failed >&2\nexit 1\n")
    (tmp_path / "initdb").chmod(0o755)
    monkeypatch.setattr(postgres_server, "_binaries", lambda: tmp_path)
    monkeypatch.setattr(account, "choose", lambda folder: account.Account(54321, 54321, borrowed=False))
    monkeypatch.setattr(account, "named", lambda: named)
    with pytest.raises(embedded.ServerFailed, match="it failed") as raised:
        embedded.Postgres(tmp_path / "postgres").start()
    assert ("set DATABASE_URL" in str(raised.value)) != named


def test_a_killed_initdb_leaves_no_half_cluster(tmp_path):
    (tmp_path / "cluster.new").mkdir()
    (tmp_path / "cluster.new" / "PG_VERSION").write_text("18\n")
    with embedded.postgres(tmp_path, fsync=False) as dsn:
        assert select_one(dsn)


@pytest.fixture
def open_folder(monkeypatch):
    """A temporary folder that everybody can reach, in which the next temporary files are made."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        monkeypatch.setattr("tempfile.tempdir", name)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends an account")
def test_an_installation_only_root_can_reach_is_copied_once(tmp_path, monkeypatch, open_folder):
    monkeypatch.setattr("downloader.embedded.account.open_to_all", lambda _: False)
    for name in ("first", "second"):
        with embedded.postgres(tmp_path / name, fsync=False) as dsn:
            assert select_one(dsn)
            server = int((tmp_path / name / "cluster" / "postmaster.pid").read_text().splitlines()[0])
            assert Path(f"/proc/{server}/exe").readlink().is_relative_to(open_folder)
    assert len(list(open_folder.iterdir())) == 1


def test_a_server_that_will_not_stay_up_ends_its_keeper(tmp_path):
    (tmp_path / "log").touch()
    lock = process.Lock(tmp_path).take()
    kept = process.Kept("false", tmp_path)
    kept.start(["false"], signal.SIGTERM, lock)
    with pytest.raises(embedded.ServerFailed, match="did not start"):
        kept.await_ready(lambda: False)
    kept.stop()
