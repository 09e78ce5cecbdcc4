"""`jangtq-coord bench`: rates of answers whose stamps are known, and a round against a real API."""

import asyncio

import pytest

from jangtq_coordinator.cli.bench import TimedAnswer, measure_round, summarise
from jangtq_coordinator.cli.running_settings import BenchSettings
from tests.support.api_server import answering


def test_rates_count_what_follows_the_first_token() -> None:
    found = summarise([TimedAnswer(0, 1, 3, 10, 5), TimedAnswer(0, 2, 4, 12, 9)])
    assert (found.first_token_seconds, found.prompt_tokens) == (1.5, 12)
    assert found.tokens_per_second == pytest.approx(12 / 3)
    assert found.tokens_per_second_each == pytest.approx((4 / 2 + 8 / 2) / 2)


def test_an_answer_of_one_token_has_no_rate() -> None:
    assert summarise([TimedAnswer(0, 1, 1, 3, 1)]).tokens_per_second == 0


async def test_a_round_asks_as_many_prompts_as_wanted() -> None:
    prompts = set[str]()

    def reply(prompt: str) -> str:
        prompts.add(prompt.removesuffix("<think>\n"))
        return "</think>the sun and the sea"

    async with answering(reply) as served:
        settings = BenchSettings(url=f"http://127.0.0.1:{served.port}", sequences=3, prompt_words=5)
        found = await asyncio.to_thread(measure_round, settings, 1)
    assert len(prompts) == 3 and found.prompt_tokens > 5 and found.first_token_seconds > 0
