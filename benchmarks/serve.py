"""Tokens per second of many clients at once, how long each waits, and what a long prompt costs the others.

Run as `python -m benchmarks.serve [--write]`: the demo model with two workers of one thread, over HTTP.
"""

import asyncio
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.neighbours import Disturbance, measure_disturbance, report_disturbance
from benchmarks.results import benchmark_options, publish
from benchmarks.stream_client import Timed, ask
from jangtq_bundle.models import demo_model
from jangtq_coordinator.cli.demo.processes import Children
from jangtq_coordinator.cli.demo.run import start_cluster
from jangtq_coordinator.engine.engine_config import EngineSettings

CLIENTS = (1, 4, 16, 64)
LEAST_ANSWERS = 24
TOKENS = 128
CONTEXT_TOKENS = 16_384
QUESTIONS = (
    "Explain photosynthesis in five sentences.",
    "How does a rainbow form?",
    "What do bees do for flowers?",
    "Why is the sea salty?",
)


@dataclass(frozen=True)
class Load:
    """The answers that a number of clients got in some seconds."""

    clients: int
    seconds: float
    answers: tuple[Timed, ...]

    @property
    def tokens_per_second(self) -> float:
        return sum(answer.completion_tokens for answer in self.answers) / self.seconds


@contextmanager
def cluster() -> Iterator[str]:
    """The demo model, told that its context is long enough for the long prompt; gives the API's base URL."""
    with tempfile.TemporaryDirectory() as directory, Children() as children:
        bundle = Path(shutil.copytree(demo_model(), Path(directory) / "jangtq-demo"))
        config = json.loads((bundle / "config.json").read_text())
        config["max_position_embeddings"] = CONTEXT_TOKENS
        (bundle / "config.json").write_text(json.dumps(config))
        yield start_cluster(children, bundle, threads=1)


async def measure_load(base_url: str, clients: int) -> Load:
    """Each client asks one question after the other, none of them twice."""
    numbers = itertools.count()
    rounds = max(2, -(-LEAST_ANSWERS // clients))

    async def run_client() -> list[Timed]:
        return [await ask(base_url, _question(next(numbers)), max_tokens=TOKENS) for _ in range(rounds)]

    started = time.perf_counter()
    answers = await asyncio.gather(*(run_client() for _ in range(clients)))
    return Load(clients, time.perf_counter() - started, tuple(itertools.chain.from_iterable(answers)))


def _question(number: int) -> str:
    return f"{QUESTIONS[number % len(QUESTIONS)]} ({number})"


def report(loads: Iterable[Load], disturbance: Disturbance) -> str:
    """Two Markdown tables."""
    batch = EngineSettings().batch_size
    lines = [
        f"Answers of up to {TOKENS} tokens; {batch} sequences decode together, others wait.\n",
        "| clients | tokens/s | first token p50 s | p99 s | between tokens p50 ms | p99 ms |",
        "|---|---|---|---|---|---|",
        *map(_load_row, loads),
        "",
        *report_disturbance(disturbance),
    ]
    return "\n".join(lines)


def _load_row(load: Load) -> str:
    firsts = _quantiles([answer.first_seconds for answer in load.answers])
    gaps = _quantiles([gap for answer in load.answers for gap in answer.gaps])
    return (
        f"| {load.clients} | {load.tokens_per_second:.1f} | {firsts[0]:.3f} | {firsts[1]:.3f} "
        f"| {gaps[0] * 1e3:.1f} | {gaps[1] * 1e3:.1f} |"
    )


def _quantiles(values: Iterable[float]) -> tuple[float, float]:
    p50, p99 = np.quantile(list(values), (0.5, 0.99)).tolist()
    return p50, p99


async def run(base_url: str) -> str:
    """Everything, after a few answers that warm up."""
    await measure_load(base_url, 2)
    loads = [await measure_load(base_url, clients) for clients in CLIENTS]
    return report(loads, await measure_disturbance(base_url))


def main() -> None:
    """Print the tables, and keep them with --write."""
    given = benchmark_options(__doc__).parse_args()
    with cluster() as base_url:
        tables = asyncio.run(run(base_url))
    publish("Serving", "python -m benchmarks.serve", tables, write=given.write)


if __name__ == "__main__":
    main()
