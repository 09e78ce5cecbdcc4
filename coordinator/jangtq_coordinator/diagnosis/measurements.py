"""Times of this machine that the performance model asks for, at MiniMax-M2.7's shape. Knows no bundle."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import Backend, KernelByKernel, KernelCall, LoadedLayer
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
    prefill_rows: int = 256


@dataclass(frozen=True)
class Measured:
    """One kernel or product: its time, the bytes of weights that it must read, and its share of bandwidth.

    Bytes and share are 0 for a kernel without weights.
    """

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
ATTENTION = "attention's products, 1 row"
ROUTER = "router, 1 row"


def measure(
    backend: Backend, shape: Shape, *, repeats: int = 30, queued: int = 64, bandwidth_mb: int = 256
) -> Measurements:
    """Takes seconds: it makes random experts of one layer first.

    queued: how often a decode kernel by itself is run for one wait, whose own time is then little of what is
    measured; a prefill kernel takes a sixteenth of them.
    """
    bandwidth = _bandwidth(bandwidth_mb * 2**20, repeats)
    layer = backend.load(random_experts(shape))
    few = max(1, repeats // 10)
    decode_bytes = layer.nbytes * shape.top // shape.experts
    found = (
        (EXPERTS_DECODE, _experts_us(layer, shape, rows=1, repeats=repeats), decode_bytes),
        (
            f"experts, {shape.prefill_rows} rows",
            _experts_us(layer, shape, rows=shape.prefill_rows, repeats=few),
            layer.nbytes,
        ),
        *_each_kernel(layer, _expert_calls(shape, 1), queued=queued, repeats=repeats),
        *_each_kernel(
            layer, _expert_calls(shape, shape.prefill_rows), queued=max(1, queued // 16), repeats=few
        ),
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
    calls = _expert_calls(shape, rows)
    return median_us(lambda turn: layer.forward(calls[turn % len(calls)]), repeats)


def _each_kernel(
    layer: LoadedLayer, calls: list[_TimedCall], *, queued: int, repeats: int
) -> Iterator[tuple[str, float, int]]:
    """Name, microseconds and bytes of the kernels behind `_experts_us`, where the backend shows them."""
    if not isinstance(layer, KernelByKernel):
        return
    rows = len(calls[0].rows)
    for kernel in layer.kernel_calls(calls[:queued]):
        us = _queued_us(kernel, times=queued, repeats=repeats)
        yield f"kernel {kernel.name}, {rows} row{'s' if rows > 1 else ''}", us, kernel.nbytes


def _queued_us(kernel: KernelCall, *, times: int, repeats: int) -> float:
    prepared = [kernel.prepare(times) for _ in range(repeats + 2)]
    return median_us(lambda _: prepared.pop()(), repeats) / times


def _expert_calls(shape: Shape, rows: int) -> list[_TimedCall]:
    """Calls that need all experts between them, so that no cache holds what the next one reads."""
    values = np.random.default_rng(1).standard_normal((rows, shape.hidden), dtype=np.float32)
    ids = np.arange(rows * shape.top).reshape(rows, shape.top)
    return [
        _TimedCall(
            rows=values,
            expert_ids=((ids + first) % shape.experts).astype(np.int32),
            router_weights=np.full((rows, shape.top), 1 / shape.top, dtype=np.float32),
            exponents=np.full(rows, 0, dtype=np.int8),
            prefill=rows > 1,
        )
        for first in range(0, shape.experts, shape.top)
    ]


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
