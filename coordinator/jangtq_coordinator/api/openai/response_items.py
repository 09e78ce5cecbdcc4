"""The items of OpenAI's responses API, checked, and what they add to a conversation."""

import uuid
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, JsonValue, TypeAdapter

from jangtq_coordinator.api.chat.carried_reasoning import unpack
from jangtq_coordinator.api.chat.chat_messages import (
    Arguments,
    CalledFunction,
    ResultText,
    Strict,
    Text,
    Unicode,
)
from jangtq_coordinator.api.chat.foreign_items import item_text
from jangtq_coordinator.api.chat.message_builder import MessageBuilder
from jangtq_coordinator.api.openai.response_tools import flat_name

_RESULT_ENDINGS: Final = ("_output", "_response", "_result")
_PREFIXES: Final = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


class MessageItem(Strict):
    """Something said; also an answer's own item given back."""

    type: Literal["message"]
    id: str | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Text

    def add_to(self, conversation: MessageBuilder) -> None:
        conversation.say(self.role, self.content)

    def body(self) -> dict[str, object]:
        answer = self.role == "assistant"
        part: dict[str, object] = {"type": "output_text" if answer else "input_text", "text": self.content}
        part |= {"annotations": [], "logprobs": []} if answer else {}
        return _body(self) | {"role": self.role, "content": [part]}


class CallItem(Strict):
    """A call of an earlier answer."""

    type: Literal["function_call"]
    id: str | None = None
    call_id: Unicode
    name: Unicode
    namespace: Unicode | None = None
    arguments: Arguments = Field(default_factory=dict)

    def add_to(self, conversation: MessageBuilder) -> None:
        function = CalledFunction(name=flat_name(self.namespace, self.name), arguments=self.arguments)
        conversation.call(function, self.call_id)

    def body(self) -> dict[str, object]:
        arguments = TypeAdapter(JsonValue).dump_json(self.arguments).decode()
        named = {"namespace": self.namespace} if self.namespace else {}
        return _body(self) | {"call_id": self.call_id, "name": self.name, "arguments": arguments} | named


class ResultItem(Strict):
    """What a call returned."""

    type: Literal["function_call_output"]
    id: str | None = None
    call_id: Unicode
    output: ResultText

    def add_to(self, conversation: MessageBuilder) -> None:
        conversation.result(self.output, self.call_id)

    def body(self) -> dict[str, object]:
        return _body(self) | {"call_id": self.call_id, "output": self.output}


class ReasoningItem(Strict):
    """The reasoning of an earlier answer; what is packed, or else the summary, stands in for its text."""

    type: Literal["reasoning"]
    id: str | None = None
    content: Text | None = None
    summary: Text | None = None
    encrypted_content: str | None = None

    @property
    def text(self) -> str:
        return self.content or unpack(self.encrypted_content or "") or self.summary or ""

    def add_to(self, conversation: MessageBuilder) -> None:
        conversation.think(self.text)

    def body(self) -> dict[str, object]:
        return _body(self) | {"summary": [], "content": [{"type": "reasoning_text", "text": self.text}]}


class OtherItem(Strict):
    """What a tool did that is no function: kept as text."""

    type: Literal["other"]
    id: str | None = None
    item: dict[str, JsonValue]

    def add_to(self, conversation: MessageBuilder) -> None:
        is_result = str(self.item["type"]).endswith(_RESULT_ENDINGS)
        conversation.say("user" if is_result else "assistant", item_text(self.item))

    def body(self) -> dict[str, object]:
        return {**self.item, "id": self.id}


class ReferenceItem(Strict):
    """An item of a response that is kept here, named by its id alone."""

    type: Literal["item_reference"]
    id: str

    def add_to(self, conversation: MessageBuilder) -> None:
        raise AssertionError(f"item {self.id} was not looked up")

    def body(self) -> dict[str, object]:
        return {"type": self.type, "id": self.id}


Item = MessageItem | CallItem | ResultItem | ReasoningItem | OtherItem | ReferenceItem
_OWN: Final = ("message", "function_call", "function_call_output", "reasoning", "item_reference")


def name_item(item: object) -> object:
    """Messages and references may leave out their type; items of other tools are wrapped."""
    if not isinstance(item, dict):
        return item
    kind = item.get("type")
    if kind is None:
        return item | {"type": "message" if "role" in item else "item_reference"}
    if isinstance(kind, str) and kind not in _OWN:
        return {"type": "other", "id": item.get("id"), "item": item}
    return item


InputItem = Annotated[Annotated[Item, Field(discriminator="type")], BeforeValidator(name_item)]
_ITEMS: Final[TypeAdapter[list[Item]]] = TypeAdapter(list[InputItem])


def as_items(value: object) -> object:
    """A plain text is what the user says."""
    return [{"type": "message", "role": "user", "content": value}] if isinstance(value, str) else value


def read_items(bodies: object) -> list[Item]:
    """Items from their JSON."""
    return _ITEMS.validate_python(bodies)


def with_ids(items: Sequence[Item]) -> list[Item]:
    """The same items, each with an id by which it can be named later."""
    return [item if item.id else item.model_copy(update={"id": _new_id(item.type)}) for item in items]


def _new_id(kind: str) -> str:
    return f"{_PREFIXES.get(kind, 'item')}_{uuid.uuid4().hex}"


def _body(item: Item) -> dict[str, object]:
    return {"type": item.type, "id": item.id, "status": "completed"}
