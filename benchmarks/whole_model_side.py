"""One cluster of whole_model.py, in a process of its own: measures, and prints its figures as JSON.

Run as `python -m benchmarks.whole_model_side BUNDLE THREADS [TRANSPORT HOST:PORT,...]`. Like llama-bench, it
takes the likeliest token and samples nothing.
"""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import mlx.core as mx
import psutil

from jangtq_bundle.bundle import Bundle
from jangtq_coordinator.assembly.connect import connect
from jangtq_coordinator.config import ClusterSettings, Transport
from jangtq_coordinator.kv.batch_cache import BatchCache
from jangtq_coordinator.kv.layer_cache import KvForm, LayerCache, LayerKv
from jangtq_coordinator.model.minimax import CoordinatorModel, load_model
from jangtq_proto.addresses import parse_addresses
from jangtq_proto.ranges import ExpertRange
from jangtq_proto.wire.row_type import RowType

SEQUENCES = 16
CONTEXTS = (3000, 16_000)
PROMPTS = (256, 2048)
CHUNK = 512  # as llama.cpp's own


@dataclass(frozen=True)
class Figures:
    """Tokens a second. decode: by sequences; prefill: by tokens; context: one sequence, by tokens before.

    resident: bytes of the coordinator's process.
    """

    decode: dict[int, float]
    prefill: dict[int, float]
    context: dict[int, float]
    resident: int


def prefill(model: CoordinatorModel, count: int, layers: int) -> tuple[BatchCache, float]:
    """A new sequence of so many tokens, and the seconds that it took."""
    cache = BatchCache.empty(layers, KvForm())
    tokens = [(31 * index + index * index // 7) % 200_000 for index in range(count)]
    started = time.perf_counter()
    for first in range(0, count, CHUNK):
        mx.eval(model.last_logits(mx.array([tokens[first : first + CHUNK]]), cache=cache.layers))
    return cache, time.perf_counter() - started


def decode_rate(model: CoordinatorModel, cache: BatchCache, steps: int) -> float:
    """Tokens a second of all sequences; the best of three parts, since others only ever make it slower."""
    sequences = len(cache.lengths)
    tokens = mx.array([[97 * row + 5] for row in range(sequences)])
    best = 0.0
    for part in range(4):
        started = time.perf_counter()
        for _ in range(steps):
            logits = model.last_logits(tokens, cache=cache.layers)
            tokens = mx.argmax(logits, axis=-1)[:, None]
            mx.eval(tokens)
        if part:
            best = max(best, sequences * steps / (time.perf_counter() - started))
    return best


def batch(model: CoordinatorModel, layers: int) -> BatchCache:
    """Sequences with a short prompt each."""
    first, _ = prefill(model, 16, layers)
    for _ in range(SEQUENCES - 1):
        first.join(prefill(model, 16, layers)[0])
    return first


def filled(bundle: Bundle, length: int) -> BatchCache:
    """A sequence of random keys and values, as if so many tokens had been prefilled."""
    attention = bundle.config.attention
    shape = (1, attention.key_value_head_count, length, attention.head_size)
    kv = LayerKv((mx.random.normal(shape),), (mx.random.normal(shape),))
    return BatchCache([LayerCache.of(KvForm(), [kv]) for _ in range(bundle.config.layer_count)])


def measure(model: CoordinatorModel, bundle: Bundle) -> Figures:
    layers = bundle.config.layer_count
    one, _ = prefill(model, 16, layers)
    decode_rate(model, one, 2)
    return Figures(
        decode={1: decode_rate(model, one, 8), SEQUENCES: decode_rate(model, batch(model, layers), 3)},
        prefill={count: count / min(prefill(model, count, layers)[1] for _ in range(2)) for count in PROMPTS},
        context={length: decode_rate(model, filled(bundle, length), 4) for length in CONTEXTS},
        resident=0,
    )


def main() -> None:
    """Connect, measure, print."""
    path, threads, *cluster = sys.argv[1:]
    bundle = Bundle.open(Path(path))
    everything = (ExpertRange(0, bundle.config.expert_count - 1),)
    settings = (
        ClusterSettings(
            model=bundle.path,
            workers=parse_addresses(cluster[1], default_port=7700),
            transport=Transport(cluster[0]),
        )
        if cluster
        else ClusterSettings(model=bundle.path, local_ranges=everything, threads=int(threads))
    )
    connected = connect(bundle, settings, row_type=RowType.FLOAT32)
    try:
        model = load_model(bundle, connected.dispatcher, RowType.FLOAT32, connected.overlap)
        resident = psutil.Process(os.getpid()).memory_info().rss
        figures = measure(model, bundle)
        print("figures: " + json.dumps(asdict(figures) | {"resident": resident}), flush=True)
    finally:
        connected.close()


if __name__ == "__main__":
    main()
