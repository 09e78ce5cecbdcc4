"""A conversation to prompt tokens, by the model's own chat template. Knows no HTTP."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jinja2 import TemplateError

from jangtq_coordinator.mlx_lm import TokenizerWrapper
from jangtq_coordinator.text.answer_start import AnswerStart
from jangtq_coordinator.text.control_tokens import ControlTokens, cut
from jangtq_coordinator.text.reasoning import Opening, ReasoningMarkers
from jangtq_coordinator.text.text_encoder import TextEncoder
from jangtq_coordinator.text.tool_calls import BLOCK_END, BLOCK_START
from jangtq_proto.errors import RequestError

Message = Mapping[str, object]

_MOST_VARIABLES: Final = 64

# What the tokenizer's own method takes; a client may set variables of the template only.
_RESERVED: Final = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "documents",
        "max_length",
        "messages",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "tokenize",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    }
)


_AS_THE_TEMPLATE_SAYS: Final = AnswerStart()


@dataclass(frozen=True)
class ChatPrompt:
    """Prompt tokens, and how the answer to them begins."""

    tokens: tuple[int, ...]
    opening: Opening


class ChatTemplate:
    """Renders conversations. May be used from several threads, which take turns."""

    def __init__(self, tokenizer: TokenizerWrapper, markers: ReasoningMarkers | None) -> None:
        self._tokenizer = tokenizer
        self._markers = markers
        self._encoder = TextEncoder(tokenizer)
        thinking = (markers.start, markers.end) if markers else ()
        self._control = ControlTokens(tokenizer, keep=(*thinking, BLOCK_START, BLOCK_END))
        self._lock = threading.Lock()

    def render(
        self,
        messages: Sequence[Message],
        variables: Mapping[str, object] | None = None,
        *,
        tools: Sequence[Message] = (),
        start: AnswerStart = _AS_THE_TEMPLATE_SAYS,
        most_tokens: int | None = None,
    ) -> ChatPrompt:
        """The prompt for the next turn of `messages`, with `tools` and more `variables` for the template.

        Raises RequestError for what the template refuses, and ContextOverflowError, before it is tokenized,
        for what surely has more than `most_tokens`.
        """
        variables = variables or {}
        if taken := sorted(_RESERVED & variables.keys()):
            raise RequestError(f"chat_template_kwargs may not set {', '.join(taken)}: the server sets it")
        if len(variables) > _MOST_VARIABLES:
            raise RequestError(f"chat_template_kwargs has {len(variables)}: allowed are {_MOST_VARIABLES}")
        text, opening = start.hide(self._control.hide_in).apply(
            self._render(messages, variables, tools), self._markers
        )
        if most_tokens is not None:
            self._encoder.check_length(text, most_tokens)
        return ChatPrompt(tuple(token for part in cut(text) for token in self._encoder.encode(part)), opening)

    def _render(
        self, messages: Sequence[Message], variables: Mapping[str, object], tools: Sequence[Message]
    ) -> str:
        hide = self._control.hide
        try:
            with self._lock:
                text: str = self._tokenizer.apply_chat_template(
                    hide(list(messages)),
                    tools=hide(list(tools)) or None,
                    tokenize=False,
                    add_generation_prompt=True,
                    **variables,
                )
        except (TemplateError, TypeError, ValueError) as error:
            raise RequestError(f"the model's chat template refuses the messages: {error}") from error
        return text
