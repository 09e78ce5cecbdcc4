"""One coordinator layer at MiniMax-M2.7's shape, one row, part by part, on whatever MLX computes on.

Run as `python -m benchmarks.layer_parts [--write]`; on a machine with a CUDA device or Metal the same command
measures that. Ways that are compared take turns, and the parts are those of one way:

building: Python and MLX's graph, before anything is evaluated. evaluating: until MLX says that it is done.
reading: until NumPy has rows, ids and router weights. sending: until a worker's frame is made, without a
network.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from benchmarks.results import benchmark_options, publish
from jangtq_coordinator.dispatch.codecs import open_codec
from jangtq_coordinator.dispatch.dispatcher import Dispatcher
from jangtq_coordinator.kv.layer_cache import KvForm, LayerCache
from jangtq_coordinator.mlx_lm import minimax
from jangtq_coordinator.model.compiled_layer import CompiledLayer, form_of
from jangtq_coordinator.model.expert_choice import choose_experts
from jangtq_coordinator.model.packed_rows import pack, unpack
from jangtq_coordinator.model.routed_experts import MLX_DTYPE
from jangtq_coordinator.transport.connection import GiveUp, never
from jangtq_proto.wire.row_type import RowType
from tests.support.fixed_cluster import membership_of

ROUNDS = 200
LAYERS = 4
CONTEXT = 512


@dataclass(frozen=True)
class Parts:
    """Microseconds of one layer."""

    building: float
    evaluating: float
    reading: float
    sending: float = 0.0

    @property
    def total(self) -> float:
        """All of them follow each other."""
        return self.building + self.evaluating + self.reading + self.sending


def minimax_args() -> minimax.ModelArgs:
    """MiniMax-M2.7's, with few layers."""
    return minimax.ModelArgs(
        model_type="minimax_m2",
        hidden_size=3072,
        intermediate_size=1536,
        num_attention_heads=48,
        num_key_value_heads=8,
        max_position_embeddings=196608,
        num_experts_per_tok=8,
        num_local_experts=256,
        shared_intermediate_size=0,
        num_hidden_layers=LAYERS,
        rms_norm_eps=1e-6,
        rope_theta=5000000.0,
        rotary_dim=64,
        vocab_size=64,
        head_dim=128,
    )


class Layer:
    """What the coordinator computes of one layer up to what it sends: 8-bit attention, norms and router."""

    def __init__(self, row_type: RowType) -> None:
        args, dtype = minimax_args(), MLX_DTYPE[row_type]
        self.input_norm = nn.RMSNorm(args.hidden_size)
        self.attention = minimax.MiniMaxAttention(args)
        self.output_norm = nn.RMSNorm(args.hidden_size)
        for module in (self.input_norm, self.attention, self.output_norm):
            module.set_dtype(dtype)
        nn.quantize(self.attention, group_size=64, bits=8)
        self.gate = mx.random.normal((args.num_local_experts, args.hidden_size)) * 0.02
        self.narrow_gate = self.gate.astype(dtype)
        self.bias = mx.zeros(args.num_local_experts)
        mx.eval(self.attention.parameters(), self.gate, self.narrow_gate, self.bias)

    def attend(self, hidden: mx.array, cache: LayerCache) -> mx.array:
        """[1, 1, hidden] to the normed rows [1, hidden] that meet the router."""
        attended = hidden + self.attention(self.input_norm(hidden), None, cache)
        rows: mx.array = self.output_norm(attended).reshape(1, -1)
        return rows


class Nowhere:
    """A connection that takes frames and answers none."""

    def send(self, call_id: int, frame: bytes) -> None:
        pass

    def receive(self, call_id: int, give_up: GiveUp = never) -> bytes:
        raise NotImplementedError

    def abandon(self) -> None:
        pass

    def close(self) -> None:
        pass


def dispatcher_to_nowhere(row_type: RowType) -> Dispatcher:
    """One that makes and sends every frame, to one worker of all experts."""
    membership = membership_of({"worker": "0-255"}, 256)
    return Dispatcher(membership, lambda _: Nowhere(), open_codec(row_type), scales=np.ones(1))


def filled_cache(dtype: mx.Dtype) -> LayerCache:
    """With CONTEXT tokens of random keys and values."""
    cache, args = LayerCache(KvForm()), minimax_args()
    values = mx.random.normal((1, args.num_key_value_heads, CONTEXT, args.head_dim)).astype(dtype)
    mx.eval(cache.update_and_fetch(values, values))
    return cache


def measure_apart(layer: Layer, hidden: mx.array, cache: LayerCache, row_type: RowType) -> Parts:
    """Rows, ids and weights as three arrays, and a router whose weights are cast at every call."""
    started = time.perf_counter_ns()
    x = layer.attend(hidden, cache)
    scores = mx.sigmoid(x.astype(mx.float32) @ layer.narrow_gate.astype(mx.float32).T)
    picked = mx.argpartition(-(scores + layer.bias), kth=7, axis=-1)[..., :8]
    weights = mx.take_along_axis(scores, picked, axis=-1)
    weights = weights / (mx.sum(weights, axis=-1, keepdims=True) + 1e-20)
    rows = x.astype(MLX_DTYPE[row_type])
    ids = picked.astype(mx.int32)
    built = time.perf_counter_ns()
    mx.eval(rows, ids, weights)
    evaluated = time.perf_counter_ns()
    np.array(rows.view(mx.uint16) if row_type is RowType.BFLOAT16 else rows), np.array(ids), np.array(weights)
    read = time.perf_counter_ns()
    return Parts((built - started) / 1e3, (evaluated - built) / 1e3, (read - evaluated) / 1e3)


def routed(layer: Layer, x: mx.array, row_type: RowType) -> tuple[mx.array, mx.array, mx.array]:
    """Rows, ids and router weights as the coordinator makes them, not evaluated yet."""
    picked, weights = choose_experts(x.astype(mx.float32) @ layer.gate.T, layer.bias, count=8)
    return x.astype(MLX_DTYPE[row_type]), picked.astype(mx.int32), weights


def measure_crossing(build: Callable[[], mx.array], row_type: RowType, dispatcher: Dispatcher) -> Parts:
    """As the coordinator does it: `build` makes a layer's packed rows, which are read at once and sent."""
    started = time.perf_counter_ns()
    packed = build()
    built = time.perf_counter_ns()
    mx.eval(packed)
    evaluated = time.perf_counter_ns()
    rows, ids, weights = unpack(packed, 1, 3072, 8, row_type=row_type)
    read = time.perf_counter_ns()
    dispatcher.begin(0, rows, expert_ids=ids, router_weights=weights)
    sent = time.perf_counter_ns()
    dispatcher.abandon()
    return Parts(
        *((built - started) / 1e3, (evaluated - built) / 1e3, (read - evaluated) / 1e3, (sent - read) / 1e3)
    )


def build_together(layer: Layer, hidden: mx.array, cache: LayerCache, row_type: RowType) -> mx.array:
    """A layer module by module."""
    return pack(*routed(layer, layer.attend(hidden, cache), row_type))


class Block(nn.Module):
    """A router's arrays, and in place of experts the packed rows that they would get."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.gate = nn.Linear(3072, 256, bias=False)
        self.gate.weight = layer.gate
        self.e_score_correction_bias = layer.bias

    def begin_packed(self, x: mx.array, packed: mx.array) -> mx.array:
        self._packed = packed
        return x

    def finish(self, x: mx.array) -> mx.array:
        return x

    def take(self) -> mx.array:
        """The packed rows of the last pass."""
        packed: mx.array = self._packed
        return packed


def compiled_layer(layer: Layer) -> CompiledLayer:
    """The same layer as the coordinator runs it on a GPU."""
    plain = nn.Module()
    plain.self_attn, plain.block_sparse_moe = layer.attention, Block(layer)
    plain.input_layernorm, plain.post_attention_layernorm = layer.input_norm, layer.output_norm
    form = form_of(plain, minimax_args())
    assert form is not None, "MiniMax's layers can be compiled"
    return CompiledLayer(plain, form)


def build_compiled(layer: CompiledLayer, hidden: mx.array, cache: LayerCache) -> mx.array:
    """A layer by two compiled functions around attention, as on a GPU."""
    layer(hidden, None, cache)
    packed: mx.array = layer.block_sparse_moe.take()
    return packed


def measure_chain(layer: Layer, hidden: mx.array, cache: LayerCache, row_type: RowType) -> float:
    """Microseconds of a layer where LAYERS of them are evaluated together, without a crossing between."""
    started = time.perf_counter_ns()
    made = []
    for _ in range(LAYERS):
        x = layer.attend(hidden, cache)
        made.append(pack(*routed(layer, x, row_type)))
        hidden = hidden + x.reshape(hidden.shape)
    mx.eval(hidden, *made)
    return (time.perf_counter_ns() - started) / 1e3 / LAYERS


def median(parts: list[Parts]) -> Parts:
    """Of each part by itself."""
    names = ("building", "evaluating", "reading", "sending")
    return Parts(*(statistics.median(getattr(one, name) for one in parts) for name in names))


def measure(row_type: RowType, rounds: int) -> str:
    """A Markdown table."""
    layer, hidden = Layer(row_type), mx.random.normal((1, 1, 3072)).astype(MLX_DTYPE[row_type])
    cache = filled_cache(MLX_DTYPE[row_type])
    dispatcher = dispatcher_to_nowhere(row_type)
    compiled_way = compiled_layer(layer)
    apart, together, compiled, chain = list[Parts](), list[Parts](), list[Parts](), list[float]()
    for _ in range(rounds + 3):
        lengths = list(cache.lengths)
        apart.append(measure_apart(layer, hidden, cache, row_type))
        for taken, build in (
            (together, partial(build_together, layer, hidden, cache, row_type)),
            (compiled, partial(build_compiled, compiled_way, hidden, cache)),
        ):
            taken.append(measure_crossing(build, row_type, dispatcher))
        chain.append(measure_chain(layer, hidden, cache, row_type))
        cache.cut(lengths)
    lines = [
        f"One row of {row_type} after {CONTEXT} tokens, on {mx.default_device()}; microseconds a layer, "
        f"medians of {rounds} rounds.",
        "",
        "| way | building | evaluating | reading | sending | in all |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in (
        ("three arrays, cast gate", median(apart[3:])),
        ("one array", median(together[3:])),
        ("compiled functions", median(compiled[3:])),
    ):
        cells = (found.building, found.evaluating, found.reading, found.sending, found.total)
        lines.append(f"| {name} | " + " | ".join(f"{cell:.0f}" for cell in cells) + " |")
    lines.append(f"| no crossing | | | | | {statistics.median(chain[3:]):.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, and keep it with --write."""
    parser = benchmark_options(__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="(default: %(default)s)")
    fast = mx.default_device().type == mx.gpu
    usual = RowType.BFLOAT16 if fast else RowType.FLOAT32
    parser.add_argument("--rows", type=RowType, default=usual, metavar="TYPE", help="(default: %(default)s)")
    given = parser.parse_args()
    table = measure(given.rows, given.rounds)
    publish("Parts of a coordinator's layer", "python -m benchmarks.layer_parts", table, write=given.write)


if __name__ == "__main__":
    main()
