"""GET /metrics: what Prometheus reads."""

from fastapi import APIRouter, Request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response


def metrics_router(registry: CollectorRegistry) -> APIRouter:
    """The route over one registry."""
    router = APIRouter()

    @router.get("/metrics", response_class=Response)
    def get_metrics(request: Request) -> Response:
        """Counters and histograms in Prometheus' text form, or as OpenMetrics where that is asked for."""
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), media_type=media_type)

    return router
