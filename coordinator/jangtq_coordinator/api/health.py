"""GET /health: whether requests are taken, and how the cluster is. Knows no worker."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from jangtq_coordinator.engine import Engine, EngineState


@dataclass(frozen=True)
class ClusterHealth:
    """Whether all experts can be reached, with details fit for JSON."""

    serving: bool = True
    details: Mapping[str, object] = field(default_factory=dict)


def health_router(engine: Engine, cluster_health: Callable[[], ClusterHealth]) -> APIRouter:
    """The health route; `cluster_health` must answer at once."""
    router = APIRouter()

    @router.get("/health", response_model=None)
    async def get_health() -> Response:
        """200 while requests are taken and can be answered, else 503."""
        cluster = cluster_health()
        ready = engine.state is EngineState.READY
        status = "ok" if ready and cluster.serving else "cluster incomplete" if ready else engine.state
        return JSONResponse(
            {
                "status": status,
                "model": engine.loaded.name if ready else None,
                "requests": engine.running,
                "cluster": dict(cluster.details),
            },
            status_code=200 if status == "ok" else 503,
        )

    return router
