"""A request on its way through the engine: from the checked body to the stream of its events."""

import asyncio
import itertools
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from jangtq_coordinator.api.chat.answer_grammar import demand_of
from jangtq_coordinator.api.chat.chat_messages import AssistantMessage, ChatMessage, ToolMessage
from jangtq_coordinator.api.chat.chat_schema import ChatRequest
from jangtq_coordinator.api.chat.completion_schema import CompletionRequest
from jangtq_coordinator.engine.engine import Engine
from jangtq_coordinator.engine.loaded_model import LoadedModel
from jangtq_coordinator.engine.request import GenerationRequest, room_after
from jangtq_coordinator.engine.streams import GenerationStream, StreamGroup
from jangtq_coordinator.sampling.grammar import GrammarConstraint, Grammars
from jangtq_coordinator.text.chat_template import ChatPrompt, ChatTemplate, Message
from jangtq_coordinator.text.detokenizer import token_bytes
from jangtq_coordinator.text.reasoning import Channel
from jangtq_coordinator.text.tool_arguments import Schema
from jangtq_proto.errors import RequestError, UnknownModelError


@dataclass(frozen=True)
class Generation:
    """What stays the same in all of an answer, and the streams of its choices, prompt by prompt.

    `id` has no API's prefix yet; `token_bytes` tells what a token stands for.
    """

    id: str
    created: int
    model: str
    system_fingerprint: str
    stream: StreamGroup
    prompt_tokens: int
    choices_per_prompt: int
    token_bytes: Callable[[int], bytes]
    schemas: Mapping[str, Schema] = field(default_factory=dict)


class Generations:
    """Begins turns on one engine. Raises RequestError for what cannot be done."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def begin(self, body: ChatRequest) -> Generation:
        """The next turn of a conversation. Raises EngineUnavailableError when no requests are taken."""
        loaded = self._served(body.model)
        prompt, constraints = await asyncio.to_thread(self._prepare, body, loaded)
        requests = [
            GenerationRequest(
                prompt.tokens,
                sampling=body.sampling(loaded.generation.sampling),
                max_tokens=body.token_limit,
                stops=body.stops,
                opening=prompt.opening,
                tool_calls=bool(body.offered_tools),
                choice=choice,
                constraint=constraint,
                speculation=body.speculation,
            )
            for choice, constraint in enumerate(constraints)
        ]
        return self._submit(requests, loaded, choices=body.choices, schemas=body.schemas)

    async def begin_texts(self, body: CompletionRequest) -> Generation:
        """Continuations of plain texts."""
        loaded = self._served(body.model)
        prompts = await asyncio.to_thread(lambda: [self._tokens(prompt) for prompt in body.prompts])
        requests = [
            GenerationRequest(
                prompt,
                sampling=body.sampling(loaded.generation.sampling),
                max_tokens=body.token_limit,
                stops=body.stops,
                opening=None,
                choice=choice,
                speculation=body.speculation,
            )
            for prompt in prompts
            for choice in range(body.choices)
        ]
        return self._submit(requests, loaded, choices=body.choices)

    async def count(self, body: ChatRequest) -> int:
        """How many tokens the prompt has."""
        self._served(body.model)
        return len((await asyncio.to_thread(self._render, body)).tokens)

    def _served(self, name: str | None) -> LoadedModel:
        check_model(name, self._engine.loaded)
        return self._engine.loaded

    def _prepare(
        self, body: ChatRequest, loaded: LoadedModel
    ) -> tuple[ChatPrompt, Sequence[GrammarConstraint | None]]:
        """The prompt, and for each choice what it must follow."""
        if body.offered_tools and not loaded.capabilities.calls_tools:
            raise RequestError("tools: the bundle of this model names no parser for its calls", param="tools")
        prompt, markers = self._render(body), loaded.capabilities.markers
        room_after(len(prompt.tokens), loaded.context_length)  # before work on schemas that fit no prompt
        reasons = markers is not None and prompt.opening.channel is Channel.REASONING
        demand = demand_of(body, reasoning_ends=markers.end if markers and reasons else None)
        if demand is None:
            return prompt, [None] * body.choices
        return prompt, self._grammars.constraints(
            demand.grammar, waits=demand.waits, param=demand.param, count=body.choices
        )

    def _render(self, body: ChatRequest) -> ChatPrompt:
        return self._template.render(
            [message_for_template(message) for message in order_results(body.messages)],
            body.chat_template_kwargs,
            tools=[tool.for_template() for tool in body.offered_tools],
        )

    def _tokens(self, prompt: str | Sequence[int]) -> tuple[int, ...]:
        tokenizer = self._engine.loaded.tokenizer
        if isinstance(prompt, str):
            return tuple(tokenizer.encode(prompt))
        _check_tokens(prompt, len(tokenizer), "prompt")
        return tuple(prompt)

    def _submit(
        self,
        requests: Sequence[GenerationRequest],
        loaded: LoadedModel,
        *,
        choices: int,
        schemas: Mapping[str, Schema] | None = None,
    ) -> Generation:
        biases = [token for token, _ in requests[0].sampling.logit_bias]
        _check_tokens(biases, len(loaded.tokenizer), "logit_bias")
        streams: list[GenerationStream] = []
        try:
            for request in requests:
                streams.append(self._engine.submit(request))
        except Exception:
            StreamGroup(streams).cancel()
            raise
        return Generation(
            id=uuid.uuid4().hex,
            created=int(time.time()),
            model=loaded.name,
            system_fingerprint=f"fp_{loaded.fingerprint[:16]}",
            stream=StreamGroup(streams),
            prompt_tokens=sum(len(request.prompt) for request in requests[::choices]),
            choices_per_prompt=choices,
            token_bytes=lambda token: token_bytes(loaded.tokenizer, token),
            schemas=schemas or {},
        )

    @cached_property
    def _template(self) -> ChatTemplate:
        return ChatTemplate(self._engine.loaded.tokenizer, self._engine.loaded.capabilities.markers)

    @cached_property
    def _grammars(self) -> Grammars:
        return Grammars(self._engine.loaded)


def check_model(name: str | None, loaded: LoadedModel) -> None:
    """A request without a model's name means the one that is served. Raises UnknownModelError."""
    if name is not None and name != loaded.name:
        raise UnknownModelError(f"the model {name!r} is not served here; the one that is: {loaded.name!r}")


def _check_tokens(tokens: Sequence[int], vocabulary: int, param: str) -> None:
    if wrong := [token for token in tokens if not 0 <= token < vocabulary]:
        raise RequestError(f"{param}: token {wrong[0]}: the vocabulary has {vocabulary} tokens", param=param)


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
