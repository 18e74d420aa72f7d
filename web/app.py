"""The Flask app, made of its parts."""

from http import HTTPStatus

from flask import Flask, Response, request

from web import artifacts, errors, events, health, jobs, metrics
from web.openapi import views as openapi
from web.parts import Parts


def create_app(parts: Parts) -> Flask:
    """The app over ``parts``. It closes nothing: whoever built the parts does."""
    app = Flask(__name__, static_folder=None)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    # A path is what it is: no redirects that repeat a stranger's text.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.url_map.redirect_defaults = False
    app.extensions["downloader"] = parts
    for module in (jobs, events, artifacts, health, metrics):
        app.register_blueprint(module.blueprint)
    openapi.install(app, parts.settings.public_base_url)
    errors.install(app)
    app.after_request(_headed)
    return app


def _headed(answer: Response) -> Response:
    """The answer with the headers that all have, and without Flask's type for those that have no body."""
    answer.headers.setdefault("Cache-Control", "no-store")
    answer.headers.setdefault("X-Content-Type-Options", "nosniff")
    if answer.status_code in (HTTPStatus.NO_CONTENT, HTTPStatus.FOUND) or request.method == "OPTIONS":
        del answer.headers["Content-Type"]
    return answer
