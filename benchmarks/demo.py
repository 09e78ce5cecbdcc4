"""Tokens per second of the demo cluster, and where each layer's time goes.

Run as `python -m benchmarks.demo [--write]`. The peer in the last row is one process with all experts.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import write_section
from jangtq_bundle.demo import write_demo_bundle
from jangtq_coordinator.chat_client import chat_chunks, cluster_status
from jangtq_coordinator.children import Children
from jangtq_coordinator.demo import start_cluster
from jangtq_coordinator.status import LayerStatus

PROMPT = "Explain photosynthesis in five sentences."
TOKENS = 200
RUNS = 5


@dataclass(frozen=True)
class Speed:
    """Medians over the runs."""

    name: str
    tokens_per_second: float
    first_token_seconds: float
    layers: tuple[LayerStatus, ...]


def measure(name: str, base_url: str) -> Speed:
    """Ask the same question several times; the first answer warms up."""
    answers = [_time_answer(base_url) for _ in range(RUNS + 1)][1:]
    return Speed(
        name=name,
        tokens_per_second=statistics.median(rate for rate, _ in answers),
        first_token_seconds=statistics.median(first for _, first in answers),
        layers=tuple(cluster_status(base_url).layers),
    )


def _time_answer(base_url: str) -> tuple[float, float]:
    started = time.perf_counter()
    first: float | None = None
    tokens = 0
    for chunk in chat_chunks(base_url, PROMPT, max_tokens=TOKENS):
        if first is None and any(c.delta.content or c.delta.reasoning_content for c in chunk.choices):
            first = time.perf_counter()
        tokens = chunk.usage.completion_tokens if chunk.usage else tokens
    first = first or time.perf_counter()
    return (tokens - 1) / (time.perf_counter() - first), first - started


def run() -> list[Speed]:
    """Two workers of one thread, and beside it one process that holds all experts."""
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(scratch) / "bundle"
        write_demo_bundle(bundle)
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
    """A Markdown table; the last column is the ratio to the last row."""
    lines = [
        "| cluster | tokens/s | first token s | attention ms | dispatch ms | experts ms | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for speed in speeds:
        parts = (
            sum(layer.attention_ms for layer in speed.layers),
            sum(layer.dispatch_ms for layer in speed.layers),
            sum(layer.experts_ms for layer in speed.layers),
        )
        ratio = speed.tokens_per_second / speeds[-1].tokens_per_second
        lines.append(
            f"| {speed.name} | {speed.tokens_per_second:.1f} | {speed.first_token_seconds:.3f} | "
            + " | ".join(f"{part:.3f}" for part in parts)
            + f" | {ratio:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table, and keep it with --write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace the section in benchmarks/RESULTS.md")
    given = parser.parse_args()
    table = report(run())
    print(table)
    if given.write:
        write_section("Demo bundle, end to end", "python -m benchmarks.demo --write", table)


if __name__ == "__main__":
    main()
