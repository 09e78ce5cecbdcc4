"""GET /v1/models: the one model that is served."""

import time

from fastapi import APIRouter

from jangtq_coordinator.api.replies import ModelCard, ModelList
from jangtq_coordinator.api.turns import check_model
from jangtq_coordinator.engine import Engine


def models_router(engine: Engine) -> APIRouter:
    """The model routes over one engine."""
    router = APIRouter()
    created = int(time.time())

    @router.get("/v1/models")
    async def list_models() -> ModelList:
        """List the served model."""
        return ModelList(data=[card()])

    @router.get("/v1/models/{name:path}")
    async def get_model(name: str) -> ModelCard:
        """Describe the served model."""
        check_model(name, engine.loaded)
        return card()

    def card() -> ModelCard:
        loaded = engine.loaded
        return ModelCard(id=loaded.name, created=created, context_length=loaded.context_length)

    return router
