"""The events that bring one item of a response. An item and a part of it begin empty."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

Body = dict[str, object]
Event = tuple[str, Body]
"""Its type, and its members beside that."""

_EMPTY_PART: Final[Body] = {"text": "", "logprobs": []}


@dataclass(frozen=True)
class ItemEvents:
    """Of the item at one place of the output. Texts have one part."""

    item_id: str
    output_index: int

    def start(self, item: Mapping[str, object]) -> Event:
        """`item` may have content already."""
        empty: Body = {"arguments": ""} if "arguments" in item else {"content": []}
        begun = {**item, "status": "in_progress", **empty}
        return "response.output_item.added", {"output_index": self.output_index, "item": begun}

    def start_part(self, part: Mapping[str, object]) -> Event:
        begun = {key: _EMPTY_PART.get(key, value) for key, value in part.items()}
        return "response.content_part.added", self._part_place | {"part": begun}

    def grow_part(self, part: Mapping[str, object], delta: Body) -> Event:
        return f"response.{part['type']}.delta", self._part_place | delta

    def end_part(self, part: Mapping[str, object]) -> Iterator[Event]:
        fields = {key: part[key] for key in _EMPTY_PART if key in part}
        yield f"response.{part['type']}.done", self._part_place | fields
        yield "response.content_part.done", self._part_place | {"part": dict(part)}

    def grow_call(self, delta: str) -> Event:
        return "response.function_call_arguments.delta", self._place | {"delta": delta}

    def end_call(self, item: Mapping[str, object]) -> Event:
        fields = {"name": item["name"], "arguments": item["arguments"]}
        return "response.function_call_arguments.done", self._place | fields

    def end(self, item: Mapping[str, object]) -> Event:
        return "response.output_item.done", {"output_index": self.output_index, "item": dict(item)}

    @property
    def _place(self) -> Body:
        return {"item_id": self.item_id, "output_index": self.output_index}

    @property
    def _part_place(self) -> Body:
        return self._place | {"content_index": 0}


def replay(response: Mapping[str, object]) -> Iterator[Event]:
    """All events of a response that is complete, as its own stream would have brought them."""
    begun = {**response, "status": "in_progress", "output": [], "usage": None, "completed_at": None}
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    output = response["output"]
    assert isinstance(output, list)
    for index, item in enumerate(output):
        yield from _replay_item(ItemEvents(str(item["id"]), index), item)
    yield f"response.{response['status']}", {"response": dict(response)}


def _replay_item(events: ItemEvents, item: Body) -> Iterator[Event]:
    yield events.start(item)
    if "arguments" in item:
        yield events.grow_call(str(item["arguments"]))
        yield events.end_call(item)
    parts = item.get("content")
    for part in parts if isinstance(parts, list) else ():
        yield events.start_part(part)
        fields = {"logprobs": part["logprobs"]} if "logprobs" in part else {}
        yield events.grow_part(part, {"delta": part["text"]} | fields)
        yield from events.end_part(part)
    yield events.end(item)
