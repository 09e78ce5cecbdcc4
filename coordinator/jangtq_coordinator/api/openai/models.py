"""GET /v1/models: the one model that is served, as OpenAI's clients read it or as Anthropic's do."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from jangtq_coordinator.api.chat.served_names import ServedNames
from jangtq_coordinator.api.http.error_responses import speaks_anthropic
from jangtq_coordinator.api.openai.replies import ModelCard, ModelList
from jangtq_coordinator.engine.engine import Engine


def models_router(engine: Engine, names: ServedNames) -> APIRouter:
    """The model routes over one engine."""
    router = APIRouter()
    started = datetime.now(UTC).replace(microsecond=0)

    @router.get("/v1/models", response_model=None, responses={200: {"model": ModelList}})
    async def list_models(request: Request) -> Response:
        """List the served model."""
        if not speaks_anthropic(request.scope):
            return JSONResponse(ModelList(data=[card(name) for name in all_names()]).model_dump())
        first, last = all_names()[0], all_names()[-1]
        data = [info(name) for name in all_names()]
        return JSONResponse({"data": data, "has_more": False, "first_id": first, "last_id": last})

    @router.get("/v1/models/{name:path}", response_model=None, responses={200: {"model": ModelCard}})
    async def get_model(name: str, request: Request) -> Response:
        """Describe the served model."""
        names.check(name, engine.loaded)
        return JSONResponse(info(name) if speaks_anthropic(request.scope) else card(name).model_dump())

    def all_names() -> tuple[str, ...]:
        return names.all_of(engine.loaded)

    def card(name: str) -> ModelCard:
        length = engine.loaded.context_length
        return ModelCard(
            id=name, created=int(started.timestamp()), context_length=length, max_model_len=length
        )

    def info(name: str) -> dict[str, object]:
        loaded = engine.loaded
        return {
            "id": name,
            "type": "model",
            "display_name": name,
            "created_at": started.isoformat(),
            "lifecycle": "active",
            "max_input_tokens": loaded.context_length,
            "max_tokens": loaded.context_length,
        }

    return router
