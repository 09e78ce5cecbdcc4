"""POST /tokenize and /detokenize, and the facts that clients of vLLM and llama-server ask for."""

from importlib.metadata import version
from typing import Self

from fastapi import APIRouter
from pydantic import Field, model_validator
from starlette.responses import JSONResponse, Response

from jangtq_coordinator.api.chat.chat_messages import ChatMessage, Strict, Unicode
from jangtq_coordinator.api.chat.chat_schema import ChatRequest
from jangtq_coordinator.api.chat.generation import Generations
from jangtq_coordinator.api.chat.tools import Tool
from jangtq_coordinator.engine.engine import Engine


class TokenizeRequest(Strict):
    """A plain text, as `prompt` (vLLM) or `content` (llama-server), or the messages of a chat."""

    model: str | None = None
    prompt: Unicode | None = None
    content: Unicode | None = None
    messages: list[ChatMessage] | None = Field(default=None, min_length=1)
    tools: list[Tool] | None = None
    return_token_strs: bool | None = None

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if sum(given is not None for given in (self.prompt, self.content, self.messages)) != 1:
            raise ValueError("prompt, content and messages: give exactly one of them")
        return self

    @property
    def text(self) -> str:
        return self.prompt or self.content or ""


class DetokenizeRequest(Strict):
    """Token ids."""

    model: str | None = None
    tokens: list[int]


def token_router(turns: Generations, engine: Engine) -> APIRouter:
    """The routes about tokens over one engine."""
    router = APIRouter()

    @router.post("/tokenize", response_model=None)
    async def tokenize(body: TokenizeRequest) -> Response:
        """The tokens of a text, or of the prompt that messages become."""
        if body.messages is not None:
            tokens = await turns.prompt(
                ChatRequest(model=body.model, messages=body.messages, tools=body.tools)
            )
        else:
            tokens = await turns.encode(body.text, model=body.model)
        reply: dict[str, object] = {
            "count": len(tokens),
            "max_model_len": engine.loaded.context_length,
            "tokens": list(tokens),
        }
        if body.return_token_strs:
            reply["token_strs"] = [turns.decode([token]) for token in tokens]
        return JSONResponse(reply)

    @router.post("/detokenize", response_model=None)
    async def detokenize(body: DetokenizeRequest) -> Response:
        """The text of tokens, under vLLM's name and under llama-server's."""
        text = turns.decode(body.tokens)
        return JSONResponse({"prompt": text, "content": text})

    @router.get("/props", response_model=None)
    async def get_props() -> Response:
        """Properties of server and model that llama-server reports, as far as they apply here."""
        loaded = engine.loaded
        sampling = loaded.generation.sampling
        defaults = {
            "n_ctx": loaded.context_length,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
        }
        return JSONResponse(
            {
                "default_generation_settings": defaults,
                "model_alias": loaded.name,
                "chat_template": loaded.tokenizer.chat_template or "",
                "modalities": {"vision": False, "audio": False},
                "build_info": f"jangtq-cluster {version('jangtq-cluster')}",
            }
        )

    @router.get("/version", response_model=None)
    async def get_version() -> Response:
        """The version of this server."""
        return JSONResponse({"version": version("jangtq-cluster")})

    return router
