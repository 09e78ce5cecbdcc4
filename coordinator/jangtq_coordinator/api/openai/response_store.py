"""The last responses in memory, for turns that go on from one. Nothing of them outlives the process."""

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jangtq_coordinator.api.openai.response_events import Body
from jangtq_coordinator.api.openai.response_items import Item, read_items

KEPT: Final = "the last ones are, in memory, unless their request said store: false"


@dataclass(frozen=True)
class Stored:
    """A response, the items that it answered, and how many of them are of earlier responses."""

    body: Body
    items: tuple[Item, ...]
    earlier: int
    size: int

    @property
    def conversation(self) -> list[Item]:
        """All items up to the response's end, without instructions."""
        return [*self.items, *read_items(self.body.get("output", []))]

    @property
    def own_ids(self) -> list[str]:
        """Of the items that came with this response."""
        return [item.id for item in self.conversation[self.earlier :] if item.id is not None]


class ResponseStore:
    """Forgets the ones that were used longest ago. Each belongs to the key that asked for it."""

    def __init__(self, *, max_count: int = 1024, max_bytes: int = 64 * 2**20) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._bytes = 0
        self._stored: OrderedDict[tuple[str | None, str], Stored] = OrderedDict()
        self._response_of: dict[tuple[str | None, str], str] = {}

    def put(self, owner: str | None, body: Body, items: Sequence[Item], *, earlier: int = 0) -> None:
        """Keep a response under its id; one that is larger than all room is not kept."""
        size = len(json.dumps(body)) + sum(len(item.model_dump_json()) for item in items)
        if size > self._max_bytes:
            return
        stored = Stored(body, tuple(items), earlier, size)
        self._stored[owner, str(body["id"])] = stored
        self._response_of |= {(owner, item_id): str(body["id"]) for item_id in stored.own_ids}
        self._bytes += size
        while self._bytes > self._max_bytes or len(self._stored) > self._max_count:
            (whose, _), oldest = self._stored.popitem(last=False)
            self._forget(whose, oldest)

    def get(self, owner: str | None, response_id: str) -> Stored | None:
        """None for one that is not kept, or not for this owner."""
        stored = self._stored.get((owner, response_id))
        if stored is not None:
            self._stored.move_to_end((owner, response_id))
        return stored

    def item(self, owner: str | None, item_id: str) -> Item | None:
        """An item that a kept response answered or brought."""
        stored = self.get(owner, self._response_of.get((owner, item_id), ""))
        items = stored.conversation if stored else []
        return next((item for item in items if item.id == item_id), None)

    def delete(self, owner: str | None, response_id: str) -> None:
        """Forget one, where it is kept."""
        if stored := self._stored.pop((owner, response_id), None):
            self._forget(owner, stored)

    def _forget(self, owner: str | None, stored: Stored) -> None:
        self._bytes -= stored.size
        for item_id in stored.own_ids:
            self._response_of.pop((owner, item_id), None)
