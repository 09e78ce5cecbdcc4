"""Plain completions through the official client."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.support.api_server import Served, answering, serving
from tests.support.mlx_generation import stream_generate
from tests.support.tiny_model import MODEL_NAME, load_tiny_tokenizer, make_model

TOKENIZER = load_tiny_tokenizer()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as running:
        yield running


async def complete(served: Served, prompt: object, **options: Any) -> Any:
    create: Any = served.openai.completions.create
    return await create(model=MODEL_NAME, prompt=prompt, **({"temperature": 0} | options))


def stock_text(prompt: str, max_tokens: int) -> str:
    replies = stream_generate(make_model(), TOKENIZER, TOKENIZER.encode(prompt), max_tokens=max_tokens)
    return str(TOKENIZER.decode([reply.token for reply in replies], skip_special_tokens=True))


async def test_prompts_in_every_form(served: Served) -> None:
    expected = [stock_text(text, 16) for text in ("Once", "Twice")]
    ids = [TOKENIZER.encode(text) for text in ("Once", "Twice")]
    for prompt in ("Once", ids[0]):
        assert [choice.text for choice in (await complete(served, prompt)).choices] == expected[:1]
    for prompt in (["Once", "Twice"], ids):
        answer = await complete(served, prompt)
        assert [choice.text for choice in answer.choices] == expected
        assert answer.usage.prompt_tokens == sum(map(len, ids)) and answer.usage.completion_tokens == 32
    assert answer.object == "text_completion" and answer.choices[0].finish_reason == "length"


async def test_a_stream(served: Served) -> None:
    stream = await complete(
        served, ["Once", "Twice"], max_tokens=9, n=2, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    for index in range(4):
        parts = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
        assert "".join(part.text for part in parts) == stock_text(("Once", "Twice")[index // 2], 9)
        assert [part.finish_reason for part in parts if part.finish_reason] == ["length"]
    assert chunks[-1].usage.completion_tokens == 36
    assert chunks[-1].usage.prompt_tokens == len(TOKENIZER.encode("Once")) + len(TOKENIZER.encode("Twice"))


async def test_logprobs_as_parallel_lists(served: Served) -> None:
    (choice,) = (await complete(served, "Once", max_tokens=5, logprobs=2)).choices
    told = choice.logprobs
    assert len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs) == 5
    assert told.text_offset[0] == 0 and told.text_offset == sorted(told.text_offset)
    assert all(
        abs(max(top.values()) - own) < 1e-6
        for top, own in zip(told.top_logprobs, told.token_logprobs, strict=True)
    )


async def test_markers_are_text() -> None:
    text = "<think> so</think>\n\nx<minimax:tool_call>\n"
    async with answering(text) as served:
        (choice,) = (await complete(served, "]~b]ai\n", max_tokens=400)).choices
        assert (choice.text, choice.finish_reason) == (text, "stop")
        (choice,) = (await complete(served, "]~b]ai\n", max_tokens=400, stop="</think>")).choices
        assert (choice.text, choice.finish_reason) == ("<think> so", "stop")


async def test_what_is_refused(served: Served) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [5, 99_999]}, "token 99999"),
        ({"prompt": [-1]}, "token -1"),
        ({"prompt": "x", "echo": True}, "echo: True is not supported"),
        ({"prompt": "x", "suffix": "y"}, "suffix"),
        ({"prompt": "x", "best_of": 3}, "best_of"),
        ({"prompt": "x", "logprobs": 6}, "logprobs"),
    ]
    for fields, words in cases:
        with pytest.raises(openai.BadRequestError, match=words):
            await complete(served, fields.pop("prompt"), **fields)
