"""A request on its way through the engine: from the checked body to the stream of its events."""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from jangtq_coordinator.api.chat.answer_blocks import AnswerBlocks
from jangtq_coordinator.api.chat.answer_form import JsonForm
from jangtq_coordinator.api.chat.answer_grammar import demand_of
from jangtq_coordinator.api.chat.chat_messages import AssistantMessage, ChatMessage
from jangtq_coordinator.api.chat.chat_schema import ChatRequest
from jangtq_coordinator.api.chat.completion_schema import CompletionRequest
from jangtq_coordinator.api.chat.conversation import arrange, without_oldest
from jangtq_coordinator.api.chat.generation_fields import GenerationFields
from jangtq_coordinator.api.chat.served_names import ServedNames
from jangtq_coordinator.engine.engine import Engine
from jangtq_coordinator.engine.events import Usage
from jangtq_coordinator.engine.loaded_model import LoadedModel
from jangtq_coordinator.engine.request import GenerationRequest, room_after
from jangtq_coordinator.engine.streams import GenerationStream, StreamGroup
from jangtq_coordinator.sampling.grammar import GrammarConstraint, Grammars
from jangtq_coordinator.sampling.parameters import SamplingParameters
from jangtq_coordinator.sampling.tool_grammar import answer_grammar
from jangtq_coordinator.text.answer_start import AnswerStart, Prefill
from jangtq_coordinator.text.chat_template import ChatPrompt, ChatTemplate, Message
from jangtq_coordinator.text.detokenizer import token_bytes
from jangtq_coordinator.text.reasoning import Channel
from jangtq_coordinator.text.text_encoder import TextEncoder
from jangtq_coordinator.text.tool_arguments import Schema
from jangtq_proto.errors import ContextOverflowError, RequestError

_OWN_NAME: Final = ServedNames()

_COUNTED_CONTEXTS: Final = 4
"""A text is counted where it may be so many times as long as the context; it takes seconds a megabyte."""


@dataclass(frozen=True)
class Generation:
    """What stays the same in all of an answer, and the streams of its choices, prompt by prompt.

    `id` has no API's prefix yet; `token_bytes` gives the bytes of a token.
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
    sampling: SamplingParameters = SamplingParameters()


class Generations:
    """Begins turns on one engine. Raises RequestError for what cannot be done."""

    def __init__(self, engine: Engine, names: ServedNames = _OWN_NAME) -> None:
        self._engine = engine
        self._names = names

    async def begin(self, body: ChatRequest) -> Generation:
        """The next turn of a conversation. Raises EngineUnavailableError when no requests are taken."""
        loaded = self._served(body.model)
        prompt, constraints = await asyncio.to_thread(self._prepare, body, loaded)
        requests = [
            GenerationRequest(
                prompt.tokens,
                sampling=body.sampling(loaded.generation.sampling, loaded.stop_tokens),
                max_tokens=body.token_limit,
                stops=body.stops,
                opening=prompt.opening,
                tool_calls=bool(body.offered_tools),
                choice=choice,
                constraint=constraint,
                speculation=body.speculation,
                stop_tokens=frozenset(body.stop_token_ids or ()),
            )
            for choice, constraint in enumerate(constraints)
        ]
        await self._engine.wait_until_complete()
        return self._submit(requests, body, loaded, schemas=body.schemas)

    async def begin_texts(self, body: CompletionRequest) -> Generation:
        """Continuations of plain texts."""
        loaded = self._served(body.model)
        prompts = await asyncio.to_thread(lambda: [self._tokens(prompt) for prompt in body.prompts])
        constraints = iter(await asyncio.to_thread(self._text_constraints, body, len(prompts)))
        requests = [
            GenerationRequest(
                prompt,
                sampling=body.sampling(loaded.generation.sampling, loaded.stop_tokens),
                max_tokens=body.token_limit,
                stops=body.stops,
                opening=None,
                choice=choice,
                constraint=next(constraints),
                speculation=body.speculation,
                stop_tokens=frozenset(body.stop_token_ids or ()),
            )
            for prompt in prompts
            for choice in range(body.choices)
        ]
        await self._engine.wait_until_complete()
        return self._submit(requests, body, loaded)

    async def count(self, body: ChatRequest) -> int:
        """How many tokens the prompt has."""
        return len(await self.prompt(body))

    async def prompt(self, body: ChatRequest) -> tuple[int, ...]:
        """The prompt's tokens."""
        self._served(body.model)
        most_tokens = _COUNTED_CONTEXTS * self._engine.loaded.context_length
        return (await asyncio.to_thread(self._render, body, most_tokens=most_tokens)).tokens

    async def encode(self, text: str, *, model: str | None) -> tuple[int, ...]:
        """The tokens of a plain text."""
        self._served(model)
        return await asyncio.to_thread(self._tokens, text)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones by their names."""
        tokenizer = self._engine.loaded.tokenizer
        _check_tokens(tokens, len(tokenizer), "tokens")
        return b"".join(token_bytes(tokenizer, token) for token in tokens).decode(errors="replace")

    def _tokens(self, prompt: str | Sequence[int]) -> tuple[int, ...]:
        tokenizer = self._engine.loaded.tokenizer
        if isinstance(prompt, str):
            self._encoder.check_length(prompt, _COUNTED_CONTEXTS * self._engine.loaded.context_length)
            return tuple(self._encoder.encode(prompt, special_tokens=True))
        _check_tokens(prompt, len(tokenizer), "prompt")
        return tuple(prompt)

    def _served(self, name: str | None) -> LoadedModel:
        self._names.check(name, self._engine.loaded)
        return self._engine.loaded

    def _prepare(
        self, body: ChatRequest, loaded: LoadedModel
    ) -> tuple[ChatPrompt, Sequence[GrammarConstraint | None]]:
        """The prompt, and for each choice what it must follow."""
        if body.offered_tools and not loaded.capabilities.calls_tools:
            raise RequestError("tools: the bundle of this model names no parser for its calls", param="tools")
        prompt, markers = self._fitting(body, loaded), loaded.capabilities.markers
        reasons = markers is not None and prompt.opening.channel is Channel.REASONING
        demand = demand_of(body, reasoning_ends=markers.end if markers and reasons else None)
        if demand is None:
            return prompt, [None] * body.choices
        _check_end(body, demand.param)
        return prompt, self._grammars.constraints(
            demand.grammar, waits=demand.waits, calls=demand.calls, param=demand.param, count=body.choices
        )

    def _fitting(self, body: ChatRequest, loaded: LoadedModel) -> ChatPrompt:
        """The prompt, without the oldest turns where that is asked for. Raises ContextOverflowError.

        This comes before work on schemas that fit no prompt.
        """
        while True:
            try:
                prompt = self._render(body, most_tokens=loaded.context_length)
                room_after(len(prompt.tokens), loaded.context_length)
                return prompt
            except ContextOverflowError:
                shorter = without_oldest(body.messages) if body.drops_oldest else None
                if shorter is None:
                    raise
                body = body.model_copy(update={"messages": shorter})

    def _text_constraints(self, body: CompletionRequest, prompts: int) -> Sequence[GrammarConstraint | None]:
        count, form = prompts * body.choices, body.answer_form
        if form is None:
            return [None] * count
        _check_end(body, form.param)
        grammar = (
            answer_grammar(form.schema, {}, after_reasoning=False)
            if isinstance(form, JsonForm)
            else form.grammar(after_reasoning=False)
        )
        return self._grammars.constraints(grammar, param=form.param, count=count)

    def _render(self, body: ChatRequest, *, most_tokens: int) -> ChatPrompt:
        messages, prefill = arrange(body.messages), None
        if body.continues and isinstance(last := messages[-1], AssistantMessage):
            messages, prefill = messages[:-1], Prefill(last.thoughts, last.said)
        variables: dict[str, object] = dict(body.chat_template_kwargs or {})
        return self._template.render(
            [message_for_template(message) for message in messages],
            variables if body.reasons else {"enable_thinking": False} | variables,
            tools=[tool.for_template() for tool in body.offered_tools],
            start=AnswerStart(reasons=body.reasons, prefill=prefill),
            most_tokens=most_tokens,
        )

    def _submit(
        self,
        requests: Sequence[GenerationRequest],
        body: GenerationFields,
        loaded: LoadedModel,
        *,
        schemas: Mapping[str, Schema] | None = None,
    ) -> Generation:
        biases = [token for token, _ in requests[0].sampling.logit_bias]
        _check_tokens(biases, len(loaded.tokenizer), "logit_bias")
        _check_tokens(body.stop_token_ids or (), len(loaded.tokenizer), "stop_token_ids")
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
            model=body.model or loaded.name,
            system_fingerprint=f"fp_{loaded.fingerprint[:16]}",
            stream=StreamGroup(streams),
            prompt_tokens=sum(len(request.prompt) for request in requests[:: body.choices]),
            choices_per_prompt=body.choices,
            token_bytes=lambda token: token_bytes(loaded.tokenizer, token),
            schemas=schemas or {},
            sampling=requests[0].sampling,
        )

    @cached_property
    def _template(self) -> ChatTemplate:
        return ChatTemplate(self._engine.loaded.tokenizer, self._engine.loaded.capabilities.markers)

    @cached_property
    def _encoder(self) -> TextEncoder:
        return TextEncoder(self._engine.loaded.tokenizer)

    @cached_property
    def _grammars(self) -> Grammars:
        return Grammars(self._engine.loaded)


def _check_end(body: GenerationFields, param: str) -> None:
    """Raise RequestError for an answer that may not end where its grammar ends."""
    if body.withholds_end:
        name = "ignore_eos" if body.ignore_eos else "min_tokens"
        raise RequestError(f"{name}: an answer that follows {param} ends where that says", param=name)


def _check_tokens(tokens: Sequence[int], vocabulary: int, param: str) -> None:
    if wrong := [token for token in tokens if not 0 <= token < vocabulary]:
        raise RequestError(f"{param}: token {wrong[0]}: the vocabulary has {vocabulary} tokens", param=param)


def message_for_template(message: ChatMessage) -> Message:
    """A message under the names that chat templates use."""
    role = "system" if message.role == "developer" else message.role
    if not isinstance(message, AssistantMessage):
        return {"role": role, "content": message.content}
    result: dict[str, object] = {"role": role, "content": message.said}
    if thoughts := message.thoughts:
        result |= {"reasoning_content": thoughts}
    calls = [call.model_dump(include={"type", "function"}) for call in message.tool_calls or ()]
    return result | ({"tool_calls": calls} if calls else {})


def usage_so_far(choices: Sequence[AnswerBlocks], turn: Generation) -> Usage:
    """The tokens of all choices; each prompt counts once, however many answers it has."""
    usages = [choice.end.usage for choice in choices if choice.end]
    cached = [choice.end.usage.cached_tokens for choice in choices[:: turn.choices_per_prompt] if choice.end]
    return Usage(
        prompt_tokens=turn.prompt_tokens,
        completion_tokens=sum(choice.tokens for choice in choices),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
        cached_tokens=sum(cached),
    )
