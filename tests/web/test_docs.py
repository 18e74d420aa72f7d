"""The page for people: everything is on it, it loads nothing, and nothing of a stranger's gets into it."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from tests.web.described import document
from web.app import create_app
from web.openapi.page import kind, prose

VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """Notes tags, ids and links, and that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.text = [], set(), [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            assert name != "style"
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src"):
                self.links.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def answer(client):
    return client.get("/docs")


@pytest.fixture
def page(answer):
    return Page(answer.text)


def test_it_is_a_whole_page(answer, page):
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_it_loads_nothing(page):
    assert not page.tags & {"script", "img", "iframe", "object", "embed", "form", "base", "svg", "audio", "video"}
    outside = [link for link in page.links if not link.startswith("#")]
    assert sorted(outside) == ["data:,", "openapi.json"]


def test_its_policy_allows_its_style_alone(answer):
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert policy.pop("style-src") == f"'sha256-{digest}'"
    assert policy.pop("img-src") == "data:"
    assert policy == dict.fromkeys(("default-src", "base-uri", "form-action", "frame-ancestors"), "'none'")
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style


def test_everything_described_is_on_it_and_every_link_leads_there(page):
    for path, methods in document()["paths"].items():
        assert path in page.text
        for method, operation in methods.items():
            if method not in ("head", "options"):
                assert operation["operationId"] in page.ids
                assert operation["summary"] in page.text
    for name, schema in document()["components"]["schemas"].items():
        assert f"schema-{name}" in page.ids
        assert set(schema.get("properties", ())) <= set(page.text.split())
    for code in re.findall(r"`([a-z_]+)`:", str(document())):
        assert code in page.text
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_a_base_cannot_change_the_page(make_parts):
    parts = make_parts(PUBLIC_BASE_URL="/a<script>alert(1)</script>'\"")
    page = Page(create_app(parts).test_client().get("/docs").text)
    assert "script" not in page.tags
    assert "/a<script>alert(1)</script>'\"" in page.text


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a `b` <c>", "a <code>b</code> &lt;c&gt;"),
        ("- `a`: b\n- <i>", "<ul><li><code>a</code>: b</li><li>&lt;i&gt;</li></ul>"),
        ("a `<b>`", "a <code>&lt;b&gt;</code>"),
    ],
)
def test_prose(text, html):
    assert prose(text) == html


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "integer", "minimum": 0}, "whole number"),
        ({"type": "integer", "minimum": 1}, "whole number from 1"),
        ({"type": ["number", "null"], "minimum": 0, "maximum": 100}, "number 0 to 100"),
        ({"type": "array", "items": {"type": "string"}}, "list of text"),
        ({"enum": ["a", "<", None]}, "<code>a</code> · <code>&lt;</code>"),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, "true · false"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "object of text"),
        ({"allOf": [{"$ref": "#/components/schemas/Job"}]}, '<a href="#schema-Job">Job</a>'),
    ],
)
def test_kinds(schema, text):
    assert kind(schema) == text
