"""compose.yaml: what it starts, what it asks for, and that its settings are ours."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from downloader import config
from downloader.route import stage_names

TEXT = (Path(__file__).parents[2] / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
GIVEN = {"DB_PASSWORD": "p@ss:word/1", "S3_ACCESS_KEY": "GK" + "a" * 24, "S3_SECRET_KEY": "b" * 64}
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(?:(:?[-?])((?:[^{}]|\$\{[^}]*\})*))?\}")


def substitute(value: str, given: dict[str, str]) -> str:
    """As `docker compose` fills in `${NAME}`, `${NAME:-default}`, `${NAME-default}` and `${NAME:?message}`."""

    def fill(match: re.Match[str]) -> str:
        name, kind, text = match.groups()
        if given.get(name) or (kind == "-" and name in given):
            return given[name]
        if kind == ":?":
            raise KeyError(name)
        return substitute(text or "", given)

    return VARIABLE.sub(fill, value)


def environment(service: str, given: dict[str, str]) -> dict[str, str]:
    return {name: substitute(str(value), given) for name, value in SERVICES[service]["environment"].items()}


NODE = "n" * 64
OURS = sorted(name for name, service in SERVICES.items() if "typetype-downloader" in service["image"])


def test_one_service_for_each_role():
    assert set(OURS) == {"web", "migrate", "janitor", *stage_names()}
    for name in (*stage_names(), "janitor"):
        assert SERVICES[name]["command"] == ["downloader", "stage", name]


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_each_service_are_valid(name):
    settings = config.load(environment(name, GIVEN))
    assert settings.storage == "s3"
    assert settings.database_location == "postgresql://downloader:p%40ss%3Aword%2F1@postgres:5432/downloader"
    assert settings.redis_location == "redis://valkey:6379/0"
    known = {variable for names, _, _ in config.variables() for variable in names}
    assert set(SERVICES[name]["environment"]) <= known


@pytest.mark.parametrize("missing", sorted(GIVEN))
def test_each_secret_must_be_given(missing):
    with pytest.raises(KeyError, match=missing):
        substitute(TEXT, {name: value for name, value in GIVEN.items() if name != missing})


def test_no_secret_has_a_default():
    assert not re.search(r"\$\{(DB_PASSWORD|S3_ACCESS_KEY|S3_SECRET_KEY)(:-|\})", TEXT)


def test_each_service_of_ours_reads_the_variables_of_a_file_that_may_be_missing():
    for name in OURS:
        assert SERVICES[name]["env_file"] == [{"path": "downloader.env", "required": False}]
    ignored = (Path(__file__).parents[2] / ".gitignore").read_text().splitlines()
    assert "/downloader.env" in ignored


def test_web_is_published_to_this_machine_alone():
    (port,) = SERVICES["web"]["ports"]
    assert substitute(port, {}) == "127.0.0.1:18093:18093"
    assert substitute(port, {"HTTP_BIND": "0.0.0.0", "HTTP_PORT": "80"}) == "0.0.0.0:80:18093"


def test_everything_that_is_mentioned_exists():
    for service in SERVICES.values():
        assert set(service.get("depends_on", ())) <= set(SERVICES)
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in COMPOSE["volumes"]
        for item in service.get("configs", ()):
            assert item["source"] in COMPOSE["configs"]


class Garage(BaseHTTPRequestHandler):
    """The admin interface of a Garage (its version 2) that remembers its layout, keys and buckets."""

    def do_GET(self):
        split = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        state = self.server.state
        answers = {
            "/v2/GetClusterStatus": lambda: {"layoutVersion": state["version"], "nodes": [{"id": NODE, "isUp": True}]},
            "/v2/GetClusterLayout": lambda: {"version": state["version"], "roles": state["roles"]},
            "/v2/GetKeyInfo": lambda: state["keys"].get(query["id"]) if query["showSecretKey"] == "true" else {},
            "/v2/GetBucketInfo": lambda: state["buckets"].get(query["globalAlias"]),
        }
        self.answer(answers[split.path]())

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        state = self.server.state
        state["posts"].append(self.path)
        if self.path == "/v2/UpdateClusterLayout":
            (role,) = body["roles"]
            assert set(role) == {"id", "zone", "capacity", "tags"}
            state["staged"] = body["roles"]
        elif self.path == "/v2/ApplyClusterLayout":
            assert body == {"version": state["version"] + 1}
            state.update(version=body["version"], roles=state["staged"])
        elif self.path == "/v2/ImportKey":
            assert set(body) == {"accessKeyId", "secretAccessKey", "name"}
            state["keys"][body["accessKeyId"]] = body
        elif self.path == "/v2/CreateBucket":
            state["buckets"][body["globalAlias"]] = {"id": "b1"}
            self.answer({"id": "b1"})
            return
        elif self.path == "/v2/AllowBucketKey":
            assert body["permissions"] == {"read": True, "write": True, "owner": True}
            state["allowed"] = (body["bucketId"], body["accessKeyId"])
        self.answer({})

    def answer(self, body):
        assert self.headers["Authorization"] == f"Bearer {GIVEN['S3_SECRET_KEY']}"
        content = json.dumps(body).encode()
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def garage():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Garage)
    server.state = {"version": 0, "roles": [], "keys": {}, "buckets": {}, "posts": []}
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bootstrap(garage, monkeypatch):
    """Runs the script of the one-shot service, with variables of one's own."""

    def run(**given):
        for name, value in environment("garage-bootstrap", GIVEN | given).items():
            monkeypatch.setenv(name, value)
        # What Garage and the script agree on stays as it was.
        monkeypatch.setenv("GARAGE_ADMIN_TOKEN", GIVEN["S3_SECRET_KEY"])
        monkeypatch.setenv("GARAGE_ADMIN", f"http://127.0.0.1:{garage.server_address[1]}")
        script = COMPOSE["configs"]["garage-bootstrap"]["content"]
        exec(compile(script, "garage-bootstrap.py", "exec"), {})  # noqa: S102 - it is our own file

    return run


def test_the_bootstrap_makes_layout_key_and_bucket_once(garage, bootstrap):
    bootstrap()
    first = list(garage.state["posts"])
    bootstrap()
    assert first == [
        f"/v2/{name}"
        for name in ("UpdateClusterLayout", "ApplyClusterLayout", "ImportKey", "CreateBucket", "AllowBucketKey")
    ]
    assert garage.state["posts"][len(first) :] == ["/v2/AllowBucketKey"]
    assert garage.state["allowed"] == ("b1", GIVEN["S3_ACCESS_KEY"])
    assert garage.state["roles"][0]["id"] == NODE


@pytest.mark.parametrize(("name", "value"), [("S3_ACCESS_KEY", "minio"), ("S3_SECRET_KEY", "c" * 63)])
def test_the_bootstrap_says_what_a_key_must_look_like(garage, bootstrap, name, value):
    with pytest.raises(SystemExit, match="24 hexadecimal digits"):
        bootstrap(**{name: value})
    assert garage.state["posts"] == []


def test_the_bootstrap_tells_that_a_key_has_another_secret(garage, bootstrap):
    bootstrap()
    with pytest.raises(SystemExit, match="another secret"):
        bootstrap(S3_SECRET_KEY="c" * 64)


def test_the_bootstrap_repeats_why_garage_refuses(garage, bootstrap, monkeypatch):
    monkeypatch.setattr(Garage, "do_POST", lambda self: self.send_error(400, "Not in this house"))
    with pytest.raises(SystemExit, match=r"(?s)UpdateClusterLayout with 400.*Not in this house"):
        bootstrap()


def test_what_runs_once_gives_up_in_the_end():
    """Otherwise `docker compose up` waits for ever where a variable is wrong."""
    waited_for = {
        name
        for service in SERVICES.values()
        for name, when in (service["depends_on"].items() if isinstance(service.get("depends_on"), dict) else ())
        if when["condition"] == "service_completed_successfully"
    }
    assert waited_for == {"migrate", "garage-bootstrap"}
    assert {SERVICES[name]["restart"] for name in waited_for} == {"on-failure:5"}


def test_clients_reach_the_files_on_the_port_that_is_published():
    settings = config.load(environment("web", GIVEN))
    (port,) = SERVICES["garage"]["ports"]
    assert substitute(port, GIVEN) == "127.0.0.1:3900:3900"
    assert settings.s3_public_endpoint == "http://localhost:3900"
    relayed = config.load(environment("web", GIVEN | {"S3_PUBLIC_ENDPOINT": ""}))
    assert relayed.s3_public_endpoint == ""
