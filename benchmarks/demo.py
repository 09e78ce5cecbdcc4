"""Tokens per second of the demo cluster, and where each layer's time goes.

Run as `python -m benchmarks.demo [--write]`. The peer in the last row is one process with all experts.
"""

import asyncio
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import benchmark_options, publish
from benchmarks.stream_client import ask
from jangtq_bundle.models import demo_model
from jangtq_coordinator.cli.demo.processes import Children
from jangtq_coordinator.cli.demo.run import start_cluster
from jangtq_coordinator.cli.status import LayerView, fetch_status

PROMPT = "Explain photosynthesis in five sentences."
TOKENS = 200
RUNS = 5
CLIENTS = 16


@dataclass(frozen=True)
class Speed:
    """Medians over the runs; `together` counts the tokens of all clients at once."""

    name: str
    tokens_per_second: float
    together: float
    first_token_seconds: float
    layers: tuple[LayerView, ...]


def measure(name: str, base_url: str) -> Speed:
    """Ask the same question several times; the first answer warms up."""
    answers = [_time_answer(base_url) for _ in range(RUNS + 1)][1:]
    splits = tuple(fetch_status(base_url).cluster.layers)
    return Speed(
        name=name,
        together=_time_together(base_url),
        tokens_per_second=statistics.median(rate for rate, _ in answers),
        first_token_seconds=statistics.median(first for _, first in answers),
        layers=splits,
    )


def _time_answer(base_url: str) -> tuple[float, float]:
    """Tokens per second after the first one, and seconds until it came."""
    answer = asyncio.run(ask(base_url, PROMPT, max_tokens=TOKENS))
    return (answer.completion_tokens - 1) / (answer.pieces[-1] - answer.pieces[0]), answer.first_seconds


def _time_together(base_url: str) -> float:
    """Tokens per second of many clients, each asking several times."""
    started = time.perf_counter()
    tokens = asyncio.run(_ask_together(base_url))
    return tokens / (time.perf_counter() - started)


async def _ask_together(base_url: str) -> int:
    counts = await asyncio.gather(*(_ask_again_and_again(base_url) for _ in range(CLIENTS)))
    return sum(counts)


async def _ask_again_and_again(base_url: str) -> int:
    return sum([(await ask(base_url, PROMPT, max_tokens=TOKENS)).completion_tokens for _ in range(RUNS)])


def run() -> list[Speed]:
    """Two workers of one thread, and beside it one process that holds all experts."""
    bundle = demo_model()
    with Children() as children:
        two = measure("two workers over gRPC", start_cluster(children, bundle, threads=1))
    with Children() as children:
        one = measure("one process, all experts", _start_alone(children, bundle))
    return [two, one]


def _start_alone(children: Children, bundle: Path) -> str:
    coordinator = children.start(
        "coordinator",
        "jangtq_coordinator",
        ["serve", "--model", str(bundle), "--experts", "0-255", "--threads", "1", "--port", "0"]
        + ["--stop-on-stdin-close"],
    )
    base_url = coordinator.listening()
    coordinator.ready()
    return base_url


def report(speeds: list[Speed]) -> str:
    """A Markdown table; ratios are to the last row, and for many clients to one."""
    columns = ("cluster", "tokens/s", "ratio", f"tokens/s, {CLIENTS} clients", "first token s")
    parts = ("attention ms", "dispatch ms", "experts ms")
    lines = [_row(*columns, *parts), _row(*["---"] * (len(columns) + len(parts)))]
    return "\n".join(lines + [_describe(speed, speeds[-1]) for speed in speeds])


def _describe(speed: Speed, peer: Speed) -> str:
    return _row(
        speed.name,
        f"{speed.tokens_per_second:.1f}",
        f"{speed.tokens_per_second / peer.tokens_per_second:.2f}",
        f"{speed.together:.1f} ({speed.together / speed.tokens_per_second:.1f} x)",
        f"{speed.first_token_seconds:.3f}",
        f"{sum(layer.attention_ms for layer in speed.layers):.3f}",
        f"{sum(layer.dispatch_ms for layer in speed.layers):.3f}",
        f"{sum(layer.experts_ms for layer in speed.layers):.3f}",
    )


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table, and keep it with --write."""
    given = benchmark_options(__doc__).parse_args()
    table = report(run())
    publish("Demo bundle, end to end", "python -m benchmarks.demo", table, write=given.write)


if __name__ == "__main__":
    main()
