"""Chunks of an answer: its text and usage, and errors before and in the middle of it."""

import asyncio
from collections.abc import Iterator, Mapping

import pytest

from jangtq_coordinator.cli import chat_stream
from jangtq_coordinator.cli.admin_client import CoordinatorAnswerError
from jangtq_coordinator.cli.chat_stream import ChatChunk, chat_chunks
from tests.support.api_server import answering

QUESTION = [{"role": "user", "content": "What?"}]


def text_of(chunks: list[ChatChunk]) -> str:
    return "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)


async def test_text_and_usage_come() -> None:
    async with answering("</think>So be it.") as served:
        url = f"http://127.0.0.1:{served.port}/"
        chunks = await asyncio.to_thread(lambda: list(chat_chunks(url, QUESTION, {"max_tokens": 50})))
    assert text_of(chunks) == "So be it."
    usage = chunks[-1].usage
    assert usage is not None and usage.completion_tokens > 0 and usage.prompt_tokens > 0


async def test_a_refused_request_says_why() -> None:
    async with answering("no") as served:
        url = f"http://127.0.0.1:{served.port}"
        with pytest.raises(CoordinatorAnswerError, match="answered 400: .*max_tokens"):
            await asyncio.to_thread(lambda: list(chat_chunks(url, QUESTION, {"max_tokens": -1})))


def test_an_error_in_the_middle_ends_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def lines(url: str, path: str, body: Mapping[str, object]) -> Iterator[str]:
        yield 'data: {"choices": [{"delta": {"content": "Some"}}]}'
        yield ""
        yield 'data: {"error": {"message": "a worker is lost"}}'

    monkeypatch.setattr(chat_stream, "stream", lines)
    chunks = chat_chunks("http://nowhere", QUESTION, {})
    assert text_of([next(chunks)]) == "Some"
    with pytest.raises(CoordinatorAnswerError, match="ended early: a worker is lost"):
        next(chunks)
