"""Each step of the Dockerfile that needs no Docker, run as it stands."""

import json
import os
import re
import shutil
import socketserver
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.packaging.dockerfile import read

ROOT = Path(__file__).parents[2]
DOCKERFILE = read(ROOT / "Dockerfile")


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """What the build stage leaves in /opt/downloader, in a folder of its own; COPY and RUN as they stand."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(sys.executable)
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "REVISION": "abc",
        "BUILD_TIME": "now",
    }
    ignored = (ROOT / ".dockerignore").read_text().split()
    for step in (step for step in DOCKERFILE if step.stage == 0):
        rest = step.rest.replace("/opt/downloader", f"{folder}/opt").replace("/build", f"{folder}/build")
        if step.word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                assert f"!{source}" in ignored, f".dockerignore hides {source}"
                copy(ROOT / source, Path(target) / source if target.endswith("/") else Path(target))
        elif step.word == "RUN":
            # python -m venv needs the real interpreter: a link into another environment would inherit from it.
            rest = rest.replace("python -m venv", f"{sys.base_prefix}/bin/python3 -m venv", 1)
            subprocess.run(["sh", "-euc", rest], check=True, env=environment, cwd=folder)
    return folder / "opt"


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def run(image: Path, *argv: str, **options) -> str:
    bare = {"PATH": f"{image / 'bin'}:/usr/bin:/bin", "DATA_DIR": str(image / "data")}
    done = subprocess.run(argv, env=bare, cwd=image, capture_output=True, text=True, check=True, **options)
    return done.stdout


@pytest.mark.slow
def test_the_default_command_is_there(image):
    command = json.loads(next(step.rest for step in DOCKERFILE if step.word == "CMD"))
    assert command == ["downloader", "up"]
    assert "Run the whole service" in run(image, f"{image}/bin/{command[0]}", *command[1:], "--help")


@pytest.mark.slow
def test_every_role_loads_with_what_the_runtime_lock_pins(image):
    modules = "web.app, stages.fetch, stages.mux, stages.publish, stages.resolve, stages.janitor, downloader.cli.doctor"
    assert run(image, f"{image}/bin/python", "-c", f"import {modules}; print('loaded')") == "loaded\n"


@pytest.mark.slow
def test_data_files_and_the_build_note_are_installed(image):
    code = (
        "import json; from importlib.resources import files; from downloader.store.migrate import migrations;"
        "print(len(migrations()), json.loads((files('downloader') / '_build.json').read_bytes())['revision'])"
    )
    count, revision = run(image, f"{image}/bin/python", "-c", code).split()
    assert int(count) > 0
    assert revision == "abc"
    found = "from importlib.resources import files; print(len(list((files('web.openapi') / 'templates').iterdir())))"
    assert int(run(image, f"{image}/bin/python", "-c", found)) == 2


@pytest.mark.slow
def test_the_private_servers_are_installed(image):
    code = "from downloader.embedded import postgres_server, valkey_server; postgres_server._binaries(); valkey_server._binary()"
    assert run(image, f"{image}/bin/python", "-c", code) == ""


@pytest.mark.parametrize("variable", ["HTTP_PORT", "HTTP_ADDR"])
@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_healthcheck_tells(status, healthy, variable):
    class Health(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    rest = next(step.rest for step in DOCKERFILE if step.word == "HEALTHCHECK")
    command = json.loads(rest.partition("CMD ")[2])
    with socketserver.TCPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            port = str(server.server_address[1])
            environment = {**os.environ, variable: port if variable == "HTTP_PORT" else f":{port}"}
            done = subprocess.run([sys.executable, *command[1:]], env=environment, check=False, capture_output=True)
        finally:
            server.shutdown()
            thread.join()
    assert (done.returncode == 0) == healthy


def test_its_user_is_the_one_whose_volume_the_documents_prepare():
    run = next(step.rest for step in DOCKERFILE if step.stage == 1 and step.word == "RUN")
    uid, gid = re.search(r"--uid (\d+)", run)[1], re.search(r"groupadd .*--gid (\d+)", run)[1]
    assert f"chown -R {uid}:{gid}" in (ROOT / "docs" / "operating.md").read_text()


def test_it_runs_as_an_ordinary_user_and_stops_politely():
    last = {step.word: step.rest for step in DOCKERFILE if step.stage == 1}
    assert last["USER"] not in ("", "root", "0")
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert last["VOLUME"] == "/data"
    assert last["EXPOSE"] == "18093"
