"""The last responses in memory, for turns that go on from one. Nothing of them outlives the process."""

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jangtq_coordinator.api.chat.chat_messages import ChatMessage

KEPT: Final = "the last ones are, in memory, unless their request said store: false"
Body = dict[str, object]


@dataclass(frozen=True)
class Stored:
    """A response, and the conversation up to its end without instructions."""

    body: Body
    messages: tuple[ChatMessage, ...]
    size: int


class ResponseStore:
    """Forgets the ones that were used longest ago. Each belongs to the key that asked for it."""

    def __init__(self, *, max_count: int = 1024, max_bytes: int = 64 * 2**20) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._bytes = 0
        self._stored: OrderedDict[tuple[str | None, str], Stored] = OrderedDict()

    def put(self, owner: str | None, body: Body, messages: Sequence[ChatMessage]) -> None:
        """Keep a response under its id; one that is larger than all room is not kept."""
        size = len(json.dumps(body)) + sum(len(message.model_dump_json()) for message in messages)
        if size > self._max_bytes:
            return
        self._stored[owner, str(body["id"])] = Stored(body, tuple(messages), size)
        self._bytes += size
        while self._bytes > self._max_bytes or len(self._stored) > self._max_count:
            _, oldest = self._stored.popitem(last=False)
            self._bytes -= oldest.size

    def get(self, owner: str | None, response_id: str) -> Stored | None:
        """None for one that is not kept, or not for this owner."""
        stored = self._stored.get((owner, response_id))
        if stored is not None:
            self._stored.move_to_end((owner, response_id))
        return stored

    def delete(self, owner: str | None, response_id: str) -> None:
        """Forget one, where it is kept."""
        stored = self._stored.pop((owner, response_id), None)
        self._bytes -= stored.size if stored else 0
