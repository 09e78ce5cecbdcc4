"""Many clients that stream answers without a pause, and remember every answer and when anything came."""

import asyncio
import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import cycle

import httpx


@dataclass(frozen=True)
class Question:
    """What one client asks again and again; seeded where it is not answered by the likeliest tokens."""

    text: str
    max_tokens: int
    seed: int | None = None

    @property
    def body(self) -> dict[str, object]:
        sampling = {"temperature": 0.0} if self.seed is None else {"temperature": 1.0, "seed": self.seed}
        return {
            "messages": [{"role": "user", "content": self.text}],
            "max_tokens": self.max_tokens,
            "stream": True,
            **sampling,
        }


@dataclass
class Load:
    """`answers` of each question, `failures` in words, and the `arrivals` of anything by time.monotonic."""

    url: str
    answers: dict[Question, list[str]] = field(default_factory=lambda: defaultdict(list))
    failures: list[str] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask_each_once(self, questions: list[Question]) -> None:
        """All together."""
        async with self._client() as client:
            await asyncio.gather(*(self._ask(client, question) for question in questions))

    async def ask_until_over(self, questions: list[Question], clients: int) -> None:
        """Each client goes on until `end`, and finishes what it asked."""
        async with self._client() as client:
            places = [
                questions[i % len(questions) :] + questions[: i % len(questions)] for i in range(clients)
            ]
            await asyncio.gather(*(self._go_on(client, place) for place in places))

    def end(self) -> None:
        """Ask nothing more."""
        self._over.set()

    def longest_gap(self, since: float, until: float) -> float:
        """Seconds in which no client got anything."""
        times = [since, *(at for at in self.arrivals if since < at < until), until]
        return max(later - earlier for earlier, later in zip(times, times[1:], strict=False))

    def _client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        return httpx.AsyncClient(base_url=self.url, timeout=120, limits=limits)

    async def _go_on(self, client: httpx.AsyncClient, questions: list[Question]) -> None:
        for question in cycle(questions):
            if self._over.is_set():
                return
            await self._ask(client, question)

    async def _ask(self, client: httpx.AsyncClient, question: Question) -> None:
        try:
            async with client.stream("POST", "/v1/chat/completions", json=question.body) as reply:
                if reply.status_code != 200:
                    self.failures.append(f"{reply.status_code}: {await reply.aread()!r}")
                    return
                self.answers[question].append(await self._read(reply))
        except httpx.HTTPError as error:
            self.failures.append(f"{type(error).__name__}: {error}")

    async def _read(self, reply: httpx.Response) -> str:
        text, finished = "", False
        async for line in reply.aiter_lines():
            if not line.startswith("data: {"):
                continue
            self.arrivals.append(time.monotonic())
            chunk = json.loads(line.removeprefix("data: "))
            if "error" in chunk:
                self.failures.append(str(chunk["error"]))
            for choice in chunk.get("choices", ()):
                delta = choice["delta"]
                text += (delta.get("content") or "") + (delta.get("reasoning_content") or "")
                finished = finished or choice["finish_reason"] is not None
        if not finished:
            self.failures.append(f"an answer ended after {text!r}")
        return text
