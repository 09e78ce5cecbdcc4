"""GET /v1/models: the one model that is served, as OpenAI's clients read it or as Anthropic's do."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from jangtq_coordinator.api.chat.generation import check_model
from jangtq_coordinator.api.http.error_responses import speaks_anthropic
from jangtq_coordinator.api.openai.replies import ModelCard, ModelList
from jangtq_coordinator.engine.engine import Engine


def models_router(engine: Engine) -> APIRouter:
    """The model routes over one engine."""
    router = APIRouter()
    started = datetime.now(UTC).replace(microsecond=0)

    @router.get("/v1/models", response_model=None, responses={200: {"model": ModelList}})
    async def list_models(request: Request) -> Response:
        """List the served model."""
        if not speaks_anthropic(request.scope):
            return JSONResponse(ModelList(data=[card()]).model_dump())
        name = engine.loaded.name
        return JSONResponse({"data": [info()], "has_more": False, "first_id": name, "last_id": name})

    @router.get("/v1/models/{name:path}", response_model=None, responses={200: {"model": ModelCard}})
    async def get_model(name: str, request: Request) -> Response:
        """Describe the served model."""
        check_model(name, engine.loaded)
        return JSONResponse(info() if speaks_anthropic(request.scope) else card().model_dump())

    def card() -> ModelCard:
        loaded = engine.loaded
        return ModelCard(
            id=loaded.name, created=int(started.timestamp()), context_length=loaded.context_length
        )

    def info() -> dict[str, object]:
        loaded = engine.loaded
        return {
            "id": loaded.name,
            "type": "model",
            "display_name": loaded.name,
            "created_at": started.isoformat(),
            "lifecycle": "active",
            "max_input_tokens": loaded.context_length,
            "max_tokens": loaded.context_length,
        }

    return router
