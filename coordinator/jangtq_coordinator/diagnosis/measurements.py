"""Times of this machine that the performance model asks for, at MiniMax-M2.7's shape. Knows no bundle."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import Backend, LoadedLayer
from jangtq_kernels.codebook import compute_codebook
from jangtq_kernels.rotation import generate_signs
from jangtq_kernels.weights import ExpertWeights, PackedMatrix


@dataclass(frozen=True)
class Shape:
    """Sizes of a layer; the defaults are MiniMax-M2.7's, with as many experts as a row meets in 8 calls."""

    hidden: int = 3072
    intermediate: int = 1536
    heads: int = 48
    kv_heads: int = 8
    head_size: int = 128
    router: int = 256
    experts: int = 64
    top: int = 8
    bits: int = 2


@dataclass(frozen=True)
class Measured:
    """One kernel or product: its time, the bytes of weights that it must read, and its share of bandwidth."""

    name: str
    us: float
    nbytes: int
    bandwidth_share: float


@dataclass(frozen=True)
class Measurements:
    """Microseconds; bandwidth in GB/s, of reading one large array on the device that computes."""

    crossing_us: float
    bandwidth: float
    backend: str
    kernels: tuple[Measured, ...]

    def us_of(self, name: str) -> float:
        """The time of one of `kernels`."""
        return next(one.us for one in self.kernels if one.name == name)


@dataclass(frozen=True)
class _TimedCall:
    rows: NDArray[np.float32]
    expert_ids: NDArray[np.int32]
    router_weights: NDArray[np.float32]
    exponents: NDArray[np.int8]
    prefill: bool


EXPERTS_DECODE = "experts, 1 row"
EXPERTS_PREFILL = "experts, 256 rows"
ATTENTION = "attention's products, 1 row"
ROUTER = "router, 1 row"


def measure(backend: Backend, shape: Shape, *, repeats: int = 30, bandwidth_mb: int = 256) -> Measurements:
    """Takes seconds: it makes random experts of one layer first."""
    bandwidth = _bandwidth(bandwidth_mb * 2**20, repeats)
    layer = backend.load(random_experts(shape))
    decode_bytes = layer.nbytes * shape.top // shape.experts
    found = (
        (EXPERTS_DECODE, _experts_us(layer, shape, rows=1, repeats=repeats), decode_bytes),
        (EXPERTS_PREFILL, _experts_us(layer, shape, rows=256, repeats=max(1, repeats // 10)), layer.nbytes),
        *_dense(shape, repeats),
    )
    return Measurements(
        crossing_us=_crossing_us(repeats * 5),
        bandwidth=bandwidth,
        backend=backend.name,
        kernels=tuple(
            Measured(name, us, nbytes, nbytes / (us * 1e3) / bandwidth) for name, us, nbytes in found
        ),
    )


def random_experts(shape: Shape) -> ExpertWeights:
    """Codes of uniform bits: their values do not change what a kernel does."""
    random = np.random.default_rng(0)

    def matrix(out: int, size: int) -> PackedMatrix:
        words = -(-size // (32 // shape.bits))
        codes = random.integers(0, 2**32, (shape.experts, out, words), dtype=np.uint32)
        norms = random.uniform(0.5, 1.5, (shape.experts, out)).astype(np.float16)
        return PackedMatrix(
            codes, norms, compute_codebook(size, shape.bits), generate_signs(size, 42), shape.bits
        )

    return ExpertWeights(
        tuple(range(shape.experts)),
        matrix(shape.intermediate, shape.hidden),
        matrix(shape.intermediate, shape.hidden),
        matrix(shape.hidden, shape.intermediate),
    )


def median_us(work: Callable[[int], object], repeats: int) -> float:
    """Of calls with 0, 1, 2 ..., after two that are not counted."""
    taken = []
    for turn in range(repeats + 2):
        started = time.perf_counter_ns()
        work(turn)
        taken.append(time.perf_counter_ns() - started)
    return statistics.median(taken[2:]) / 1e3


def _crossing_us(repeats: int) -> float:
    """A trivial kernel, evaluated, and its result read by the processor."""
    one = mx.ones(8)
    mx.eval(one)
    return median_us(lambda turn: np.array(one + turn), repeats)


def _bandwidth(nbytes: int, repeats: int) -> float:
    array = mx.zeros(nbytes // 4, dtype=mx.float32)
    mx.eval(array)
    return nbytes / (median_us(lambda _: mx.eval(mx.max(array)), repeats) * 1e3)


def _experts_us(layer: LoadedLayer, shape: Shape, *, rows: int, repeats: int) -> float:
    random = np.random.default_rng(1)
    values = random.standard_normal((rows, shape.hidden), dtype=np.float32)

    def ask(turn: int) -> None:
        ids = (np.arange(rows * shape.top) + turn * shape.top) % shape.experts
        layer.forward(
            _TimedCall(
                rows=values,
                expert_ids=ids.reshape(rows, shape.top).astype(np.int32),
                router_weights=np.full((rows, shape.top), 1 / shape.top, dtype=np.float32),
                exponents=np.full(rows, 0, dtype=np.int8),
                prefill=rows > 1,
            )
        )

    return median_us(ask, repeats)


def _dense(shape: Shape, repeats: int) -> tuple[tuple[str, float, int], ...]:
    """The 8-bit products of attention, one after the other, and the router's in float32."""
    queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    packed = [
        mx.quantize(mx.random.normal((out, size)), group_size=64, bits=8)
        for out, size in ((queries + 2 * keys, shape.hidden), (shape.hidden, queries))
    ]
    gate = mx.random.normal((shape.router, shape.hidden))
    rows = mx.random.normal((1, shape.hidden)), mx.random.normal((1, queries))
    mx.eval(packed, gate, *rows)

    def attend(_: int) -> None:
        mx.eval(
            *(
                mx.quantized_matmul(row, *parts, transpose=True, group_size=64, bits=8)
                for row, parts in zip(rows, packed, strict=True)
            )
        )

    attention_bytes = sum(part.nbytes for parts in packed for part in parts)
    return (
        (ATTENTION, median_us(attend, repeats), attention_bytes),
        (ROUTER, median_us(lambda _: mx.eval(mx.sigmoid(rows[0] @ gate.T)), repeats), gate.nbytes),
    )
