"""The commands against a whole, running service."""

import json
import os
import pty
import re
import signal
import subprocess
from contextlib import closing
from pathlib import Path

import av
import pytest
import redis

from downloader.embedded import running_url
from tests.cli.running import DOWNLOADER, environment, run, start
from tests.service import StandIn
from tests.waiting import until


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """The environment of a running ``downloader up`` with a stand-in for TypeType-Server; and the stand-in."""
    standin = StandIn(tmp_path_factory.mktemp("media"))
    env = environment(tmp_path_factory.mktemp("data"), TYPETYPE_API_BASE=standin.base)
    process = start(env)
    assert "listens on" in process.stdout.readline()
    env["DOWNLOADER_SERVER"] = f"http://127.0.0.1:{env['HTTP_PORT']}"
    yield env, standin
    process.terminate()
    process.communicate(timeout=60)
    standin.close()
    assert process.returncode == 0


@pytest.fixture
def env(service):
    return service[0]


@pytest.fixture
def source(service):
    return service[1].source("small")


def test_get_saves_a_playable_file_under_its_name(env, source, tmp_path):
    done = run("get", source, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    saved = tmp_path / done.stdout.strip()
    assert list(tmp_path.iterdir()) == [saved]
    with av.open(str(saved)) as media:
        assert {stream.type for stream in media.streams} == {"video", "audio"}
    assert "saving" in done.stderr


def test_get_never_overwrites_a_file_it_names_itself(env, source, tmp_path):
    names = {run("get", "--quiet", source, env=env, cwd=tmp_path).stdout.strip() for _ in range(2)}
    assert len(names) == 2
    assert any(" (2)." in name for name in names)


def test_get_writes_where_it_is_told(env, source, tmp_path):
    done = run("get", "--quiet", "-o", str(tmp_path / "film.mp4"), source, env=env)
    assert done.stdout.strip() == str(tmp_path / "film.mp4")
    assert done.stderr == ""
    assert (tmp_path / "film.mp4").stat().st_size > 100_000


def test_get_saves_subtitles_beside_the_file(env, service, tmp_path):
    source = service[1].source("demo")
    done = run("get", "--quiet", "--subtitles", "en,de", "-o", "film.mp4", source, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    film, *subtitles = map(Path, done.stdout.splitlines())
    assert film == Path("film.mp4")
    assert sorted(path.suffixes[-2:] for path in subtitles) == [[".de", ".vtt"], [".en-US", ".vtt"]]
    assert {path.name for path in tmp_path.iterdir()} == {film.name, *(path.name for path in subtitles)}
    assert all((tmp_path / path).read_text().startswith("WEBVTT") for path in subtitles)


def test_get_says_why_a_job_failed(env, service, tmp_path):
    done = run("get", service[1].source("no-such-source"), env=env, cwd=tmp_path)
    assert done.returncode == 1
    assert re.search(r"Error: .+ \(extraction_failed\)", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_get_says_what_is_wrong_with_a_url(env, tmp_path):
    done = run("get", "ftp://example.com/x", env=env, cwd=tmp_path)
    assert done.returncode == 1
    assert "(invalid_url)" in done.stderr


def test_ctrl_c_cancels_the_job(env, service, tmp_path):
    slow = subprocess.Popen(
        [*DOWNLOADER, "get", service[1].source("slow")],
        env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert slow.stderr.readline()  # the job is being followed
    slow.send_signal(signal.SIGINT)
    _, said = slow.communicate(timeout=30)
    assert slow.returncode == 130
    assert "Cancelled." in said
    assert list(tmp_path.iterdir()) == []


def test_jobs_are_listed_shown_and_cancelled(env, source):
    job_id = run("get", "--detach", "--height", "360", source, env=env).stdout.strip()
    listed = run("jobs", "list", env=env)
    assert job_id in listed.stdout
    assert re.search(r"^fetch: \d+ ready.*, \d+ running, [1-9]\d* slots$", listed.stderr, re.MULTILINE)
    assert "WRONG" not in listed.stderr
    shown = json.loads(run("jobs", "show", job_id, env=env).stdout)
    assert shown["id"] == job_id
    unknown = run("jobs", "cancel", "0" * 32, env=env)
    assert unknown.returncode == 1
    assert "0" * 32 in unknown.stderr


def test_retry_finds_the_private_servers(env, service):
    job_id = run("get", "--detach", service[1].source("no-such-source", retried=1), env=env).stdout.strip()
    until(lambda: json.loads(run("jobs", "show", job_id, env=env).stdout)["status"] == "failed", 30)
    listed = run("jobs", "list", "--status", "failed", env=env).stdout
    assert f"{job_id}\tfailed\textraction_failed\t" in listed
    done = run("jobs", "retry", job_id, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{job_id} runs again from resolve\n"
    assert "entries_not_added" not in done.stderr
    url = running_url(Path(env["DATA_DIR"]) / "private" / "valkey")
    with closing(redis.Redis.from_url(url)) as client:
        assert client.ping()


def test_doctor_finds_everything_well(env):
    done = run("doctor", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WRONG" not in done.stdout
    assert "Postgres 18, up to date" in done.stdout
    assert re.search(r"^redis\tok\tanswers as valkey ", done.stdout, re.MULTILINE)
    assert "queues\tok\tresolve: " in done.stdout
    (muxer,) = [line for line in done.stdout.splitlines() if line.startswith("muxer\tok\t")]
    assert all(wall in muxer for wall in ("namespace ", "privileges ", "seccomp ", "landlock "))


def test_migrate_finds_nothing_to_do(env):
    assert "up to date" in run("migrate", env=env).stdout


def test_sweep_dry_run_removes_nothing(env):
    done = run("sweep", "--dry-run", env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Would remove")


def test_get_shows_a_bar_on_a_terminal(env, source, tmp_path):
    ours, theirs = pty.openpty()
    shown = b""
    try:
        with subprocess.Popen(
            [*DOWNLOADER, "get", source],
            env={**env, "TERM": "xterm"},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=theirs,
        ) as getting:
            os.close(theirs)
            while piece := read(ours):
                shown += piece
            saved = getting.stdout.read().decode().strip()
        assert getting.returncode == 0
    finally:
        os.close(ours)
    assert (tmp_path / saved).is_file()
    assert "━".encode() in shown
    assert b"saving" in shown


def read(terminal: int) -> bytes:
    """What comes from the terminal; empty when its other side is closed (Linux says EIO then)."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def test_tables_are_drawn_on_a_terminal(env):
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run([*DOWNLOADER, "jobs", "list"], env={**env, "TERM": "xterm"}, stdout=theirs, check=False)
        os.close(theirs)
        assert b"status" in read(ours)
        assert done.returncode == 0
    finally:
        os.close(ours)
