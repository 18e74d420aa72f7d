"""The description is true: no route, code, field or option more or less than the code has."""

import ast
import json
import re
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

import web
from downloader import callbacks, errors
from downloader.errors import Verdict
from downloader.job import Options, Resolved, Sidecar
from downloader.states import Stage, Status
from tests.web import test_validate
from tests.web.described import component, document
from tests.web.test_present import FILE, NOW, StoppedClock, job, live
from web import validate
from web.app import create_app
from web.errors import CODES, STATUS_OF
from web.openapi import faults
from web.openapi.operation import Fault
from web.openapi.operations import OPERATIONS
from web.present import Presenter
from web.worker import _STATUS_OF as SERVERS_OWN

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
LOGS_ALONE = {"lease_lost", "draining", "broker_unavailable"}


def operations():
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_it_is_served(client):
    answer = client.get("/openapi.json")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert answer.get_json() == json.loads(json.dumps(document()))
    assert answer.get_json()["servers"] == [{"url": "/api/downloader"}]


def test_without_a_base_it_is_where_it_was_found(make_parts):
    client = create_app(make_parts(PUBLIC_BASE_URL="")).test_client()
    assert client.get("/openapi.json").get_json()["servers"] == [{"url": "."}]


def test_every_rule_and_method_and_no_other(parts):
    rules = {
        (re.sub(r"<(\w+)>", r"{\1}", rule.rule).replace("{job_id}", "{id}"), method.lower())
        for rule in create_app(parts).url_map.iter_rules()
        for method in rule.methods
    }
    assert {(path, method) for path, method, _ in operations()} == rules
    assert {method for _, method in rules} <= METHODS


def test_every_description_is_of_a_view(parts):
    assert set(OPERATIONS) == set(create_app(parts).view_functions)


def test_names_are_unique_and_parameters_of_paths_are_all_there():
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))
    for path, _, operation in operations():
        of_path = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
        assert of_path == set(re.findall(r"\{(\w+)\}", path))


def references(node):
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_leads_somewhere_and_every_schema_is_used():
    used = set(references(document()))
    for reference in used:
        place = document()
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    assert used >= {f"#/components/schemas/{name}" for name in document()["components"]["schemas"]}


def test_every_schema_is_one():
    for name, schema in document()["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert schema["description"], name
        for field, each in schema.get("properties", {}).items():
            assert "null" not in json.dumps(each) or name in ("Wish", "Options", "Subtitles"), (name, field)


def raised() -> set[tuple[int | None, str]]:
    """The status and code of every Refusal in the code; None where the status is found out as it is raised."""
    found = set()
    for path in Path(web.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refusal":
                status, code = node.args[:2]
                assert isinstance(code, ast.Constant), f"{path}: {ast.unparse(node)}"
                of_it = ast.unparse(status)
                found.add((HTTPStatus[of_it[11:]].value if of_it.startswith("HTTPStatus.") else None, code.value))
    return found


def described() -> set[tuple[int, str]]:
    """Every status and code that some operation describes, and those of requests that reach none."""
    found = set()
    for _, _, operation in operations():
        for status, answer in operation["responses"].items():
            found |= {
                (int(status), code) for code in re.findall(r"^- `(\w+)`:", answer.get("description", ""), re.MULTILINE)
            }
    elsewhere = document()["components"]["responses"]["Elsewhere"]["description"]
    return found | {(int(status), code) for status, code in re.findall(r"^- (\d+) `(\w+)`:", elsewhere, re.MULTILINE)}


def test_every_refusal_is_described_and_no_other_error():
    in_code = {pair for pair in raised() if pair[0]}
    of_range = {(412, "precondition_failed"), (416, "range_not_satisfiable")}
    assert {code for status, code in raised() if status is None} == {code for _, code in of_range}
    tables = {(status.value, code) for status, (code, _) in CODES.items()}
    ours = {(status.value, kind.code) for kind, status in STATUS_OF.items()}
    servers = {(status.value, "bad_request") for _, status in SERVERS_OWN}
    assert described() == in_code | of_range | tables | ours | servers | {(500, "internal_error")}


def test_every_fault_is_used():
    made = {value for value in vars(faults).values() if isinstance(value, Fault)} | set(faults.ELSEWHERE)
    used = {fault for operation in OPERATIONS.values() for fault in operation.faults}
    assert made == used | {faults.BUG} | set(faults.ELSEWHERE)


def test_every_code_of_the_error_tree_is_a_jobs_a_requests_or_for_logs():
    codes = document()["components"]["schemas"]["Job"]["properties"]["errorCode"]["anyOf"]
    of_jobs = {each["const"] for each in codes if "const" in each}
    of_requests = {kind.code for kind in STATUS_OF}
    assert of_jobs == set(errors.endings())
    assert {kind.code for kind in errors.tree()} <= of_jobs | of_requests | LOGS_ALONE
    assert not of_jobs & LOGS_ALONE
    for kind in errors.tree():
        if kind.verdict in (Verdict.FAIL, Verdict.RETRY):
            assert kind.code in of_jobs


WHOLE = {
    "title": "Ä",
    "duration_ms": 60_000,
    "resolved": Resolved(137, 140, 1080, 30, "avc1", "mp4a", "mp4", 128_000, "Ä.mp4"),
    "warnings": ("a",),
    "download_ms": 1,
    "mux_ms": 2,
    "upload_ms": 3,
    "total_ms": 4,
}


@pytest.fixture
def every_job():
    """Jobs that have every field between them."""
    file = msgspec.structs.replace(FILE, expires_at=NOW + timedelta(1))
    done = job(
        Status.DONE, Stage.DONE, finished_at=NOW, artifact=file, sidecars=(Sidecar("a.srt", "artifacts/a/a.srt"),), **WHOLE
    )  # fmt: skip
    failed = [
        job(Status.FAILED, finished_at=NOW, error="It was so.", error_code=code, **WHOLE)
        for code in [*errors.endings(), "of_an_older_service"]
    ]
    return [job(Status.QUEUED, Stage.QUEUED, started_at=None), job(), done, *failed]


def test_a_job_has_the_fields_described_and_no_other(every_job):
    presenter = Presenter("/api", StoppedClock())
    shown = [presenter.job(each, live(41.26, speed_bytes_per_second=8, eta_seconds=6)) for each in every_job]
    for each in shown:
        component("Job").validate(each)
        component("CancelledJob").validate(each | {"status": "cancelled"})
        with pytest.raises(ValidationError):
            component("Job").validate(each | {"another": 1})
        with pytest.raises(ValidationError):
            component("Job").validate({name: value for name, value in each.items() if name != "queuedAt"})
    properties = document()["components"]["schemas"]["Job"]["properties"]
    assert {name for each in shown for name in each} == set(properties)
    resolved = document()["components"]["schemas"]["Resolved"]["properties"]
    assert set(shown[2]["resolved"]) == set(resolved)


def test_a_callback_has_the_fields_described_and_no_other(every_job):
    told = [json.loads(callbacks.body(each, "/api", StoppedClock())) for each in every_job if each.ended]
    for each in told:
        component("Callback").validate(each)
    properties = document()["components"]["schemas"]["Callback"]["properties"]
    assert {name for each in told for name in each} == set(properties)


def test_a_callback_is_described_where_it_is_asked_for():
    (ended,) = document()["paths"]["/jobs"]["post"]["callbacks"].values()
    assert set(ended) == {"{$request.body#/callbackUrl}", "{$request.body#/options/callbackUrl}"}
    for each in ended.values():
        headers = {parameter["name"] for parameter in each["post"]["parameters"]}
        assert headers == {callbacks.TIMESTAMP_HEADER, callbacks.SIGNATURE_HEADER}


def values(schema):
    """What ``schema`` allows."""
    if "$ref" in schema:
        return objects(document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return st.one_of(*map(values, schema["anyOf"]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if isinstance(schema["type"], list):
        return st.one_of(*(values(schema | {"type": kind}) for kind in schema["type"]))
    limits = {"min_value": schema.get("minimum"), "max_value": schema.get("maximum")}
    return {
        "null": st.none,
        "boolean": st.booleans,
        "string": lambda: texts(schema),
        "integer": lambda: st.integers(**limits),
        "number": lambda: st.integers(**limits) | st.floats(**limits),
        "array": lambda: st.lists(values(schema["items"]), max_size=schema["maxItems"]),
    }[schema["type"]]()


def texts(schema):
    if schema.get("format") == "uri":
        return st.sampled_from(["https://hooks.example/a?b", "http://hooks.example:81/"])
    return st.from_regex(schema["pattern"], fullmatch=True)


def objects(schema):
    return st.fixed_dictionaries({}, optional={name: values(each) for name, each in schema["properties"].items()})


@settings(max_examples=200)
@given(st.deferred(lambda: objects(document()["components"]["schemas"]["Options"])))
def test_options_that_are_described_are_taken(given_options):
    component("Options").validate(given_options)
    validate.options({"options": given_options}, ("hooks.example",))


(REFUSED,) = (mark.args[1] for mark in test_validate.test_refuses_wrong_types_by_name.pytestmark)


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_options_that_are_refused_are_not_described(name, value):
    with pytest.raises(ValidationError):
        component("Options").validate({name: value})


def test_every_option_is_described_with_its_default():
    described = document()["components"]["schemas"]["Options"]["properties"]
    assert set(described) == set(test_validate.NAMES)
    defaults = {name: each["default"] for name, each in described.items() if "default" in each}
    assert validate.options({"options": defaults}) == Options()
    assert defaults["mode"] == "video"
    assert defaults["allowQualityFallback"] is True


@pytest.mark.parametrize(
    "wish",
    [
        {"url": "https://example.com/v"},
        {"url": "http://a/", "options": None, "callbackUrl": None, "unknown": 1},
        {"url": "http://a/", "options": {"videoItag": "137", "subtitles": {"languages": ["en"], "format": "vtt"}}},
    ],
)
def test_wishes_that_are_taken_are_described(wish):
    component("Wish").validate(wish)
    assert validate.url(wish)
    assert validate.options(wish)


@pytest.mark.parametrize("wish", [{}, {"url": "ftp://a/"}, {"url": "http://" + "a" * 9000}, {"url": 3}])
def test_wishes_that_are_refused_are_not_described(wish):
    with pytest.raises(ValidationError):
        component("Wish").validate(wish)
