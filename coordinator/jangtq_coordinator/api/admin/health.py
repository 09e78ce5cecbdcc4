"""GET /health and its short forms: whether requests are taken, and the state of the cluster.

Knows no worker.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from jangtq_coordinator.engine.engine import Engine, EngineState


@dataclass(frozen=True)
class ClusterHealth:
    """Whether all experts can be reached, with details for JSON."""

    serving: bool = True
    details: Mapping[str, object] = field(default_factory=dict)


def health_router(engine: Engine, cluster_health: Callable[[], ClusterHealth]) -> APIRouter:
    """The health routes; `cluster_health` must answer at once.

    Live: a restart would not help. Ready: requests should be sent here now.
    """
    router = APIRouter()

    @router.get("/v1/health", include_in_schema=False, response_model=None)
    @router.get("/health", response_model=None)
    async def get_health() -> Response:
        """200 while requests are taken and can be answered, else 503; with all details."""
        state, cluster = engine.state, cluster_health()
        body = {
            "status": _status(state, cluster),
            "engine": state,
            "draining": state is EngineState.STOPPING,
            "model": engine.loaded.name if state is EngineState.READY else None,
            "requests": engine.running,
            "dense": asdict(engine.loaded.dense) if state is EngineState.READY else None,
            "cluster": dict(cluster.details),
        }
        return JSONResponse(body, _code(body["status"] == "ok"))

    @router.get("/health/live", response_model=None)
    async def get_live() -> Response:
        """503 once the engine failed, which only a restart mends; 200 otherwise, also while it loads or
        stops.
        """
        return JSONResponse({"engine": engine.state}, _code(engine.state is not EngineState.FAILED))

    @router.get("/health/ready", response_model=None)
    async def get_ready() -> Response:
        """The status of /health without details, for callers without a key."""
        status = _status(engine.state, cluster_health())
        return JSONResponse({"status": status}, _code(status == "ok"))

    return router


def _status(state: EngineState, cluster: ClusterHealth) -> str:
    if state is not EngineState.READY:
        return state
    return "ok" if cluster.serving else "degraded"


def _code(good: bool) -> int:
    return 200 if good else 503
