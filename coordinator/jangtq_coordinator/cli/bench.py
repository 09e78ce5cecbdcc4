"""`jangtq-coord bench`: the speed of a running coordinator, as one of its clients sees it."""

import dataclasses
import json
import random
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rich.table import Table

from jangtq_coordinator.cli.chat_stream import chat_chunks
from jangtq_coordinator.cli.running_settings import BenchSettings
from jangtq_coordinator.cli.status import LayerView, fetch_status
from jangtq_coordinator.cli.terminal import console

_WORDS = (
    "the sun warms sea air and rain that falls on old hills where rivers begin their way to the sea".split()
)


@dataclass(frozen=True)
class TimedAnswer:
    """One answer: stamps of time.perf_counter, and its tokens."""

    asked: float
    first: float
    last: float
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Round:
    """What one round of answers at once gave."""

    first_token_seconds: float
    prompt_tokens: int
    tokens_per_second: float
    tokens_per_second_each: float


@dataclass(frozen=True)
class Breakdown:
    """Mean milliseconds of a forward pass since the coordinator started."""

    attention_ms: float
    dispatch_ms: float
    experts_ms: float

    @classmethod
    def of(cls, layers: Sequence[LayerView]) -> "Breakdown":
        return cls(
            sum(layer.attention_ms for layer in layers),
            sum(layer.dispatch_ms for layer in layers),
            sum(layer.experts_ms for layer in layers),
        )


def bench(settings: BenchSettings) -> None:
    """Measure and print. Raises CoordinatorAnswerError."""
    rounds = [measure_round(settings, number) for number in range(settings.rounds + 1)][1:]
    breakdown = Breakdown.of(fetch_status(settings.url).cluster.layers)
    if settings.json:
        found = {"rounds": [dataclasses.asdict(one) for one in rounds], "pass": dataclasses.asdict(breakdown)}
        print(json.dumps(found, indent=2))
        return
    out = console()
    out.print(_table(settings, rounds))
    out.print(
        f"a forward pass since the start, mean: attention {breakdown.attention_ms:.2f} ms, "
        f"dispatch {breakdown.dispatch_ms:.2f} ms, experts {breakdown.experts_ms:.2f} ms"
    )


def measure_round(settings: BenchSettings, number: int) -> Round:
    """Answers to as many prompts at once as asked for; no two prompts begin alike."""
    prompts = [_prompt(settings.prompt_words, number * 1000 + i) for i in range(settings.sequences)]
    with ThreadPoolExecutor(settings.sequences) as pool:
        answers = list(pool.map(lambda prompt: _ask(settings, prompt), prompts))
    return summarise(answers)


def summarise(answers: Sequence[TimedAnswer]) -> Round:
    """Rates count the tokens after each answer's first."""
    later = [answer for answer in answers if answer.last > answer.first]
    each = [(answer.completion_tokens - 1) / (answer.last - answer.first) for answer in later]
    spent = max((a.last for a in later), default=0.0) - min((a.first for a in later), default=0.0)
    tokens = sum(answer.completion_tokens - 1 for answer in later)
    return Round(
        first_token_seconds=statistics.median(answer.first - answer.asked for answer in answers),
        prompt_tokens=max(answer.prompt_tokens for answer in answers),
        tokens_per_second=tokens / spent if spent else 0.0,
        tokens_per_second_each=statistics.median(each) if each else 0.0,
    )


def _ask(settings: BenchSettings, prompt: str) -> TimedAnswer:
    options = {"max_tokens": settings.max_tokens, "temperature": 0}
    asked = time.perf_counter()
    first, last, prompt_tokens, completion_tokens = 0.0, asked, 0, 0
    for chunk in chat_chunks(settings.url, [{"role": "user", "content": prompt}], options):
        if any(choice.delta.content or choice.delta.reasoning_content for choice in chunk.choices):
            last = time.perf_counter()
            first = first or last
        if chunk.usage is not None:
            prompt_tokens, completion_tokens = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
    return TimedAnswer(asked, first or last, last, prompt_tokens, completion_tokens)


def _prompt(words: int, seed: int) -> str:
    chosen = random.Random(seed)
    return f"{seed}: continue. " + " ".join(chosen.choice(_WORDS) for _ in range(words))


def _table(settings: BenchSettings, rounds: Sequence[Round]) -> Table:
    titles = ("round", "first token", "prompt tokens", "tokens/s", "tokens/s each")
    table = Table(*titles, box=None, pad_edge=False)
    for number, one in enumerate(rounds, start=1):
        table.add_row(
            str(number),
            f"{one.first_token_seconds:.3f} s",
            str(one.prompt_tokens),
            f"{one.tokens_per_second:.1f}",
            f"{one.tokens_per_second_each:.1f}",
        )
    table.caption = f"answers at once: {settings.sequences}, tokens of each: at most {settings.max_tokens}"
    return table
