"""What can be seen without a service."""

import json

import pytest
from click.testing import CliRunner

from downloader import cli
from downloader.cli import get, show
from tests.cli.running import environment, free_port, run


def commands(group, *path):
    for name in group.list_commands(None):
        found = group.get_command(None, name)
        yield (*path, name)
        if hasattr(found, "list_commands"):
            yield from commands(found, *path, name)


@pytest.mark.parametrize("path", [(), *commands(cli.command)], ids=" ".join)
def test_help_explains_and_gives_an_example(path):
    done = CliRunner().invoke(cli.command, [*path, "--help"])
    assert done.exit_code == 0
    assert "Example" in done.output


def test_help_loads_no_engine(tmp_path):
    code = "import sys; from downloader.cli import command; command(['--help'], standalone_mode=False); "
    code += "print(sorted({'psycopg2', 'redis', 'boto3', 'av', 'pycurl', 'rich', 'flask'} & set(sys.modules)))"
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_command_is_wrong_use():
    assert CliRunner().invoke(cli.command, ["fly"]).exit_code == 2


@pytest.mark.parametrize("argv", [("get", "http://example.com/"), ("jobs", "show", "a"), ("jobs", "cancel", "a")])
def test_no_service_is_said(tmp_path, argv):
    server = f"http://127.0.0.1:{free_port()}"
    done = run(*argv, env=environment(tmp_path, DOWNLOADER_SERVER=server))
    assert done.returncode == 1
    assert "downloader up" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("argv", [("jobs", "list"), ("jobs", "retry", "a"), ("migrate",), ("sweep", "--dry-run")])
def test_no_database_is_said(tmp_path, argv):
    done = run(*argv, env=environment(tmp_path))
    assert done.returncode == 1
    assert "set DATABASE_URL" in done.stderr


@pytest.mark.parametrize("argv", [("jobs", "list"), ("jobs", "retry", "a"), ("sweep",)])
def test_a_database_without_tables_is_said(tmp_path, empty_database_url, argv):
    done = run(*argv, env=environment(tmp_path, DATABASE_URL=empty_database_url))
    assert done.returncode == 1
    assert "The database has no tables yet" in done.stderr
    assert "Run `downloader migrate`." in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_says_what_to_do(tmp_path):
    env = environment(
        tmp_path,
        DATABASE_URL="postgresql://u:secret@127.0.0.1:9/d",
        REDIS_URL="redis://:secret@127.0.0.1:9/0",
        DOWNLOADER_SERVER="http://127.0.0.1:9",
        STORAGE_MIN_FREE_BYTES=str(1 << 60),
    )
    done = run("doctor", env=env)
    assert done.returncode == 1
    for part in ("postgres", "redis", "disk", "typetype-server", "service"):
        assert f"{part}\tWRONG" in done.stdout
        assert f"{part}: " in done.stderr
    assert "secret" not in done.stdout + done.stderr


def test_stages_and_a_janitor_that_do_not_live_are_said(tmp_path, database_url):
    env = environment(tmp_path, DATABASE_URL=database_url)
    listed = run("jobs", "list", env=env)
    assert listed.returncode == 0
    assert listed.stdout.splitlines() == ["id\tstatus\terror\tstage\tprogress\tqueued\ttitle"]
    for trouble in ("WRONG resolve: no worker lives", "WRONG no janitor lives"):
        assert trouble in listed.stderr
    doctor = run("doctor", env=env)
    assert "queues\tWRONG\tresolve: no worker lives" in doctor.stdout
    assert "queues: Start what is missing" in doctor.stderr


ROLES = [("stage", "mux"), ("stage", "janitor", "--processes", "1"), ("web",)]


@pytest.mark.parametrize("argv", ROLES)
def test_stage_and_web_become_the_role(tmp_path, argv):
    done = run(*argv, env=environment(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: DATABASE_URL or DB_URL must be set; REDIS_URL, ")


@pytest.mark.parametrize("argv", [*ROLES, ("up",), ("migrate",), ("jobs", "list")])
def test_a_variable_that_does_not_parse_is_told_in_one_way(tmp_path, argv):
    done = run(*argv, env=environment(tmp_path, DOWNLOAD_WORKERS="many"))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: DOWNLOAD_WORKERS takes connections a stream")


def test_a_name_that_is_nearly_ours_is_told(tmp_path):
    mistyped = environment(tmp_path, MAX_CONCURENT_WORKERS="4", DOWNLOADER_SERVER="http://127.0.0.1:9")
    line = json.loads(run("web", env=mistyped).stderr.splitlines()[0])
    assert (line["event"], line["name"]) == ("unknown_variable", "MAX_CONCURENT_WORKERS")
    doctor = run("doctor", env=mistyped)
    told = "every variable parses; MAX_CONCURENT_WORKERS is not known; MAX_CONCURRENT_WORKERS is"
    assert f"configuration\tdoubtful\t{told}\n" in doctor.stdout


def test_wishes_are_spelled_as_the_interface_wants_them():
    wishes = {"audio_itag": 140, "height": None, "subtitles": "en, de", "subtitle_format": None}
    assert get._options(wishes) == {
        "audioItag": 140,
        "subtitles": {"enabled": True, "languages": ["en", "de"]},
    }
    named = get._options({"subtitles": "all", "subtitle_format": "srt"})
    assert named == {"subtitles": {"enabled": True, "languages": [], "format": "srt"}}


@pytest.mark.parametrize(
    ("name", "safe"),
    [("a.mp4", "a.mp4"), ("../../etc/passwd", "_.._etc_passwd"), ("\x1b[2Ja\n.mp4", "_[2Ja_.mp4"), ("...", "download")],
)
def test_a_name_cannot_lead_out_or_control_the_terminal(name, safe, tmp_path):
    target = get._target({"id": "x", "resolved": {"fileName": name}}, tmp_path)
    assert target == tmp_path / safe


def test_bytes_are_readable():
    assert [show._bytes(n) for n in (0, 999, 1500, 3_043_425, 2e9, 3e12)] == [
        "0 B", "999 B", "1.5 kB", "3.0 MB", "2.0 GB", "3.0 TB",
    ]  # fmt: skip
