"""What a long prompt costs the others: by the clients' clocks, and by the server's own account of its passes.

Both are stamps of one machine's monotonic clock, so that each gap can be taken apart.
"""

import asyncio
import itertools
import json
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.stream_client import Timed, ask
from jangtq_coordinator.engine.engine_config import EngineSettings
from jangtq_coordinator.metrics.trace_events import ENGINE

NEIGHBOURS = 4
LONG_PROMPT_TOKENS = 8000
_QUIET_SECONDS = 5.0
_TRACE_SECONDS = 5
_TOKENS = 128
_QUESTION = "Explain photosynthesis in five sentences."
_WORDS = _QUESTION.split()


@dataclass(frozen=True, order=True)
class Pass:
    """One pass of the engine, in seconds of the monotonic clock."""

    began: float
    ended: float
    is_prefill: bool

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass(frozen=True)
class Gap:
    """From one token of a neighbour to its next."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass(frozen=True)
class Disturbance:
    """Gaps of the neighbours, alone and while the long prompt is computed, and the passes of that time."""

    prompt_tokens: int
    prompt_seconds: float
    quiet: tuple[Gap, ...]
    disturbed: tuple[Gap, ...]
    passes: tuple[Pass, ...]


async def measure_disturbance(base_url: str) -> Disturbance:
    """Clients stream all the time; in the middle of it, somebody sends the long prompt."""
    stopped = asyncio.Event()

    async def stream_on(client: int) -> list[Timed]:
        answers = []
        while not stopped.is_set():
            # Log-probabilities come with every token, those too whose text is held back.
            answers.append(
                await ask(base_url, f"{_QUESTION} ({client})", max_tokens=_TOKENS, every_token=True)
            )
        return answers

    prompt = await _long_prompt(base_url)
    neighbours = [asyncio.create_task(stream_on(client)) for client in range(NEIGHBOURS)]
    await asyncio.sleep(_QUIET_SECONDS)
    tracing = asyncio.create_task(_trace_until(stopped, base_url))
    long = await ask(base_url, prompt, max_tokens=1)
    stopped.set()
    answers = list(itertools.chain.from_iterable(await asyncio.gather(*neighbours)))
    return Disturbance(
        prompt_tokens=long.prompt_tokens,
        prompt_seconds=long.first_seconds,
        quiet=_gaps(answers, long.asked - _QUIET_SECONDS + 1, long.asked),
        disturbed=_gaps(answers, long.asked, long.pieces[0]),
        passes=await tracing,
    )


async def _long_prompt(base_url: str) -> str:
    """Words that make about LONG_PROMPT_TOKENS tokens."""
    short, longer = [(await ask(base_url, _words(count), max_tokens=1)).prompt_tokens for count in (100, 300)]
    return _words(int(100 + (LONG_PROMPT_TOKENS - short) * 200 / (longer - short)))


def _words(count: int) -> str:
    return " ".join(itertools.islice(itertools.cycle(_WORDS), count))


def _gaps(answers: Iterable[Timed], begin: float, end: float) -> tuple[Gap, ...]:
    """Gaps that ended between two stamps."""
    pairs = (pair for answer in answers for pair in itertools.pairwise(answer.pieces))
    return tuple(Gap(*pair) for pair in pairs if begin <= pair[1] <= end)


async def _trace_until(stopped: asyncio.Event, base_url: str) -> tuple[Pass, ...]:
    """Every pass that ended before the event: two take turns, so that none falls between two traces."""
    passes: set[Pass] = set()

    async def trace(after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        while not stopped.is_set():
            passes.update(await asyncio.to_thread(_trace, base_url))

    await asyncio.gather(trace(0), trace(_TRACE_SECONDS / 2))
    return tuple(sorted(passes))


def _trace(base_url: str) -> list[Pass]:
    with urllib.request.urlopen(f"{base_url}/trace?seconds={_TRACE_SECONDS}") as answer:
        events = json.load(answer)["traceEvents"]
    spans = [event for event in events if event["ph"] == "X" and event["pid"] == ENGINE]
    return [
        Pass(span["ts"] / 1e6, (span["ts"] + span["dur"]) / 1e6, span["name"] == "prefill pass")
        for span in spans
        if span["name"] in ("prefill pass", "decode pass")
    ]


def report_disturbance(found: Disturbance) -> list[str]:
    """A Markdown table beside the bound, and what the longest gap was made of."""
    usual = float(np.median([gap.seconds for gap in found.quiet]))
    stated = EngineSettings().prefill_ms / 1e3
    held = [one.seconds for one in found.passes if one.is_prefill and one.seconds > usual]
    longest = max(found.disturbed, key=lambda gap: gap.seconds)
    lines = [
        f"{NEIGHBOURS} clients stream while another sends {found.prompt_tokens} tokens, which take "
        f"{found.prompt_seconds:.1f} s; stated is a chunk time (`--prefill-ms`) of {stated * 1e3:.0f} ms. "
        f"Added is what gaps have beyond the {usual * 1e3:.1f} ms that are the median alone.\n",
        "| | p50 ms | p99 ms | longest ms | bound ms |",
        "|---|---|---|---|---|",
        _row("between tokens, alone", [gap.seconds for gap in found.quiet]),
        _row("between tokens, beside the long prompt", [gap.seconds for gap in found.disturbed]),
        _row("added delay, by the clients", [gap.seconds - usual for gap in found.disturbed], stated),
        _row("chunks, by the server", held, stated),
    ]
    if longest.seconds - usual > stated:
        lines += ["", f"The longest gap, {longest.seconds * 1e3:.0f} ms: {explain(longest, found.passes)}."]
    return lines


def explain(gap: Gap, passes: Sequence[Pass]) -> str:
    """What the server did in a gap; the rest is the way to the client, and the client's own."""
    within = [one for one in passes if one.ended > gap.began and one.began < gap.ended]
    chunks = [min(one.ended, gap.ended) - max(one.began, gap.began) for one in within if one.is_prefill]
    decoding = [one for one in within if not one.is_prefill and one.ended <= gap.ended]
    prefill_ms, decode_ms = sum(chunks) * 1e3, sum(one.seconds for one in decoding) * 1e3
    return (
        f"chunks {prefill_ms:.0f} ms, decode passes {decode_ms:.0f} ms, neither of both "
        f"{max(gap.seconds * 1e3 - prefill_ms - decode_ms, 0):.0f} ms"
    )


def _row(name: str, seconds: Sequence[float], bound: float | None = None) -> str:
    p50, p99 = (np.quantile(seconds, (0.5, 0.99)) * 1e3).tolist()
    told = "" if bound is None else f"{bound * 1e3:.0f}"
    return f"| {name} | {p50:.1f} | {p99:.1f} | {max(seconds) * 1e3:.1f} | {told} |"
