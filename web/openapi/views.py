"""GET /openapi.json and /docs: the description of the whole interface, for programs and for people."""

import json
from functools import cached_property
from typing import cast

from flask import Blueprint, Flask, Response, current_app

from web.openapi.document import document
from web.openapi.page import POLICY
from web.openapi.page import page as rendered
from web.openapi.schemas import Schema

blueprint = Blueprint("openapi", __name__, template_folder="templates")


class Description:
    """Both forms of ``app``'s description, each made when it is first asked for."""

    def __init__(self, app: Flask, base: str) -> None:
        self._app = app
        self._base = base

    @cached_property
    def document(self) -> Schema:
        """The description; ask when every route is there."""
        return document(self._app, self._base)

    @cached_property
    def text(self) -> str:
        """It as JSON."""
        return json.dumps(self.document, ensure_ascii=False, separators=(",", ":"))

    @cached_property
    def page(self) -> str:
        """It as HTML; ask within a request."""
        return rendered(self.document)


def install(app: Flask, base: str) -> None:
    """Let ``app`` describe itself; ``base`` is where clients reach it."""
    app.extensions["description"] = Description(app, base)
    app.register_blueprint(blueprint)


def _here() -> Description:
    return cast("Description", current_app.extensions["description"])


@blueprint.get("/openapi.json")
def description() -> Response:
    """The OpenAPI document."""
    return Response(_here().text, mimetype="application/json")


@blueprint.get("/docs")
def page() -> Response:
    """The page for people. It loads nothing, and nothing may be put into it."""
    return Response(_here().page, mimetype="text/html", headers={"Content-Security-Policy": POLICY})
