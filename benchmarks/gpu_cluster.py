"""A coordinator and two workers on one GPU, over the express transport: decode, prefill, memory, layer times.

Run as `python -m benchmarks.gpu_cluster DIR [--write]`, DIR being a bundle, such as one of
benchmarks.random_bundle. With `--local` the coordinator holds all experts instead. Further options are the
coordinator's own.
"""

import asyncio
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.results import benchmark_options, publish
from benchmarks.stream_client import Timed, ask
from jangtq_bundle.bundle import Bundle
from jangtq_coordinator.cli.demo.processes import Children
from jangtq_coordinator.cli.status import fetch_status

TOKENS = 96
SEQUENCES = (1, 4, 16)
PROMPTS = (512, 2048)
CHAT_TOKENS = 40
"""About what the chat template adds to a prompt."""


@dataclass(frozen=True)
class Way:
    """How the cluster is set up."""

    device: str
    local: bool
    poll_us: int
    coordinator: tuple[str, ...] = ()


@dataclass(frozen=True)
class Work:
    """What is asked of it: so many sequences at once, prompts of so many tokens, each so often."""

    sequences: tuple[int, ...]
    prompts: tuple[int, ...]
    turns: int


@contextmanager
def cluster(bundle: Path, way: Way) -> Iterator[tuple[str, float]]:
    """The API's base URL, and the seconds until everything was loaded."""
    experts = Bundle.open(bundle).config.expert_count
    started = time.perf_counter()
    with Children() as children:
        common = ["--model", str(bundle), "--device", way.device, "--stop-on-stdin-close"]
        poll = ["--poll-us", str(way.poll_us)]
        holders = ["--experts", f"0-{experts - 1}"]
        if not way.local:
            halves = (f"0-{experts // 2 - 1}", f"{experts // 2}-{experts - 1}")
            workers = [
                children.start(
                    f"worker {half}",
                    "jangtq_worker",
                    [*common, *poll, "--experts", half, "--listen", "127.0.0.1:0"],
                )
                for half in halves
            ]
            holders = ["--workers", ",".join(worker.listening() for worker in workers)]
            holders += ["--transport", "express", *poll]
            for worker in workers:
                worker.ready()
        coordinator = children.start(
            "coordinator", "jangtq_coordinator", ["serve", *common, *holders, "--port", "0", *way.coordinator]
        )
        base_url = coordinator.listening()
        coordinator.ready()
        yield base_url, time.perf_counter() - started


def prompt_of(tokens: int, seed: int) -> str:
    """So many bytes, each of which is a token of the byte tokenizer; no two prompts begin alike."""
    letters = random.Random(seed)
    return "".join(letters.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(tokens))


async def decode(base_url: str, sequences: int, seed: int) -> float:
    """Tokens per second of all together, once all have their first."""
    asked = [
        ask(base_url, prompt_of(CHAT_TOKENS, seed + number), max_tokens=TOKENS) for number in range(sequences)
    ]
    # Noise may end an answer at once.
    answers = [answer for answer in await asyncio.gather(*asked) if len(answer.pieces) > 1]
    first = max(answer.pieces[0] for answer in answers)
    last = max(answer.pieces[-1] for answer in answers)
    after = sum(sum(piece > first for piece in answer.pieces) for answer in answers)
    whole = sum(answer.completion_tokens for answer in answers) / sum(
        len(answer.pieces) for answer in answers
    )
    return after * whole / (last - first)


async def prefill(base_url: str, tokens: int, seed: int) -> Timed:
    """One prompt of so many tokens, template included, and one token of answer."""
    return await ask(base_url, prompt_of(tokens - CHAT_TOKENS, seed), max_tokens=2, every_token=True)


async def measure(base_url: str, work: Work) -> list[str]:
    """A table of rates; the best of all turns, after one that warms up."""
    lines = ["| work | tokens/s |", "|---|---|"]
    await decode(base_url, 1, 1)
    for sequences in work.sequences:
        seeds = [1000 * turn + 17 * sequences for turn in range(work.turns)]
        rates = [await decode(base_url, sequences, seed) for seed in seeds]
        lines.append(f"| decode, {sequences} sequences | {max(rates):.1f} |")
        print(lines[-1], [round(rate, 1) for rate in rates], flush=True)
    for tokens in work.prompts:
        timed = [await prefill(base_url, tokens, 50_000 + tokens + turn) for turn in range(work.turns)]
        rates = [one.prompt_tokens / one.first_seconds for one in timed]
        lines.append(f"| prefill, {timed[0].prompt_tokens} tokens | {max(rates):.0f} |")
        print(lines[-1], [round(rate) for rate in rates], flush=True)
    return lines


def layer_times(base_url: str) -> str:
    """Mean milliseconds of a layer and pass since the start."""
    layers = fetch_status(base_url).cluster.layers
    means = [
        f"{part.removesuffix('_ms')} {np.mean([getattr(layer, part) for layer in layers]):.3f} ms"
        for part in ("attention_ms", "dispatch_ms", "experts_ms")
    ]
    return f"A layer, mean of all passes: {', '.join(means)}."


def gpu_memory() -> str:
    """What nvidia-smi says is in use; nothing where there is none."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.used", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f" GPU: {done.stdout.strip()}."


def run(bundle: Path, way: Way, work: Work) -> str:
    """Load, measure and describe."""
    with cluster(bundle, way) as (base_url, seconds):
        loaded = f"Loaded in {seconds:.1f} s.{gpu_memory()}"
        print(loaded, flush=True)
        table = asyncio.run(measure(base_url, work))
        return "\n".join([loaded, "", *table, "", layer_times(base_url)])


def main() -> None:
    """Print the table, and keep it with --write."""
    parser = benchmark_options(__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--local", action="store_true", help="one process, which holds all experts")
    parser.add_argument("--poll-us", type=int, default=200)
    parser.add_argument("--sequences", type=int, nargs="*", default=list(SEQUENCES))
    parser.add_argument("--prompts", type=int, nargs="*", default=list(PROMPTS))
    parser.add_argument("--turns", type=int, default=3)
    given, others = parser.parse_known_args()
    way = Way(given.device, given.local, given.poll_us, tuple(others))
    body = run(given.bundle, way, Work(tuple(given.sequences), tuple(given.prompts), given.turns))
    title = "Whole model on one GPU, " + ("one process" if given.local else "two workers")
    publish(title, f"python -m benchmarks.gpu_cluster {given.bundle}", body, write=given.write)


if __name__ == "__main__":
    main()
