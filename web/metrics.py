"""GET /metrics: the service's figures for Prometheus."""

from flask import Blueprint, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from web.jobs import parts

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Every gauge; 200 also when what is measured is away."""
    return Response(parts().exposition.text(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
