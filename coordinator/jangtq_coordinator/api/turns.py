"""One chat request on its way through the engine: from the checked body to the stream of its events."""

import asyncio
import itertools
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from jangtq_coordinator.api.calls import ToolSchemas
from jangtq_coordinator.api.messages import AssistantMessage, ChatMessage, ToolMessage
from jangtq_coordinator.api.schema import ChatRequest
from jangtq_coordinator.chat_prompt import ChatTemplate, Message
from jangtq_coordinator.engine import Engine
from jangtq_coordinator.loaded import LoadedModel
from jangtq_coordinator.requests import GenerationRequest
from jangtq_coordinator.sampling import SamplingParameters
from jangtq_coordinator.streams import GenerationStream
from jangtq_proto.errors import UnknownModelError


@dataclass(frozen=True)
class Turn:
    """What stays the same in all chunks of one answer, and the stream of its events."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    stream: GenerationStream
    tools: ToolSchemas


class Turns:
    """Begins turns on one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def begin(self, body: ChatRequest) -> Turn:
        """Raises RequestError for what cannot be done, EngineUnavailableError when nothing can."""
        loaded = self._engine.loaded
        check_model(body.model, loaded)
        tools = body.offered_tools
        prompt = await asyncio.to_thread(
            self._template.render,
            [message_for_template(message) for message in order_results(body.messages)],
            body.chat_template_kwargs,
            tools=[tool.model_dump(exclude_unset=True) for tool in tools],
        )
        request = GenerationRequest(
            prompt.tokens,
            sampling=sampling_of(body, loaded.generation.sampling),
            max_tokens=body.token_limit,
            stops=body.stops,
            opening=prompt.opening,
            tool_calls=bool(tools),
        )
        return Turn(
            id=f"chatcmpl-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=loaded.name,
            system_fingerprint=f"fp_{loaded.fingerprint[:16]}",
            stream=self._engine.submit(request),
            tools={tool.function.name: tool.function.parameters or {} for tool in tools},
        )

    @cached_property
    def _template(self) -> ChatTemplate:
        return ChatTemplate(self._engine.loaded.tokenizer, self._engine.loaded.capabilities.markers)


def check_model(name: str | None, loaded: LoadedModel) -> None:
    """A request without a model's name means the one that is served. Raises UnknownModelError."""
    if name is not None and name != loaded.name:
        raise UnknownModelError(f"the model {name!r} is not served here; the one that is: {loaded.name!r}")


def message_for_template(message: ChatMessage) -> Message:
    """A message under the names that chat templates use."""
    role = "system" if message.role == "developer" else message.role
    result: dict[str, object] = {"role": role, "content": message.content or ""}
    if isinstance(message, AssistantMessage):
        reasoning = message.reasoning_content or message.reasoning
        result |= {"reasoning_content": reasoning} if reasoning else {}
        calls = [call.model_dump(include={"type", "function"}) for call in message.tool_calls or ()]
        result |= {"tool_calls": calls} if calls else {}
    return result


def order_results(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The messages with results in the order of their calls, since templates pair them by order alone.

    Results that name no call of the answer before them come after the others.
    """
    ordered: list[ChatMessage] = []
    places: dict[str | None, int] = {}
    for is_results, group in itertools.groupby(messages, key=lambda m: isinstance(m, ToolMessage)):
        turns = list(group)
        if is_results:
            turns.sort(key=lambda turn: places.get(_call_id(turn), len(places)))
        elif isinstance(last := turns[-1], AssistantMessage):
            places = {call.id: place for place, call in enumerate(last.tool_calls or ())}
        else:
            places = {}
        ordered += turns
    return ordered


def _call_id(message: ChatMessage) -> str | None:
    return message.tool_call_id if isinstance(message, ToolMessage) else None


def sampling_of(body: ChatRequest, defaults: SamplingParameters) -> SamplingParameters:
    """The model's sampling where the request says nothing. A top_k of -1 means off, as with vLLM."""
    return defaults.override(
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=0 if body.top_k == -1 else body.top_k,
        seed=body.seed,
    )
