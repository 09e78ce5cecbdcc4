"""A layer of MiniMax-M2.7 on this machine's GPU: every batch size, beside MLX's affine 2-bit on the same GPU.

Run as `python -m benchmarks.cuda_layer [--write]`. Queued: the kernels alone, on four layers in turn, so that
no codes are in cache. Evaluated: one call with its rows, from NumPy arrays to NumPy arrays.
"""

import time
from collections.abc import Callable

import numpy as np

from benchmarks.kernel_work import BITS, HIDDEN, INTERMEDIATE, TOP, random_layer, random_request
from benchmarks.results import benchmark_options, publish
from jangtq_kernels.cuda.backend import CudaBackend, CudaLayer

EXPERTS = 256
LAYERS = 4
REPEATS = {1: 400, 4: 200, 16: 100, 64: 50, 128: 40, 512: 20, 2048: 6}
"""How often the kernels are queued, for each number of rows."""

PEER_ROWS = (1, 16, 64, 512)


def measure(backend: CudaBackend, layers: list[CudaLayer], rows: int, repeats: int) -> tuple[float, float]:
    """Microseconds queued, the mean, and evaluated, the median."""
    requests = [random_request(rows, turn, experts=EXPERTS) for turn in range(LAYERS)]
    evaluated = []
    for turn in range(max(12, min(60, repeats))):
        started = time.perf_counter()
        layers[turn % LAYERS].forward(requests[turn % LAYERS])
        evaluated.append(time.perf_counter() - started)
    backend.repeat(layers, LAYERS)
    started = time.perf_counter()
    backend.repeat(layers, repeats)
    return (time.perf_counter() - started) / repeats * 1e6, float(np.median(evaluated)) * 1e6


def measure_peer() -> dict[int, float]:
    """Microseconds of affine 2-bit gather_qmm in bfloat16, queued; empty where MLX has no GPU."""
    import mlx.core as mx

    if not mx.cuda.is_available():
        return {}

    def matrix(out: int, inputs: int) -> tuple[mx.array, mx.array, mx.array]:
        codes = mx.random.randint(0, 2**31 - 1, (EXPERTS, out, inputs // 16)).astype(mx.uint32)
        scales = (mx.random.normal((EXPERTS, out, inputs // 64)) * 0.01).astype(mx.bfloat16)
        return codes, scales, scales

    gate, up, down = (
        matrix(INTERMEDIATE, HIDDEN),
        matrix(INTERMEDIATE, HIDDEN),
        matrix(HIDDEN, INTERMEDIATE),
    )

    def layer(rows: mx.array, ids: mx.array) -> mx.array:
        def multiply(x: mx.array, of: tuple[mx.array, mx.array, mx.array]) -> mx.array:
            return mx.gather_qmm(x, *of, rhs_indices=ids, transpose=True, group_size=64, bits=2)

        wide = mx.expand_dims(rows, (-2, -3))
        gated = multiply(wide, gate)
        return multiply(gated * mx.sigmoid(gated) * multiply(wide, up), down)

    return {rows: _queued(layer, rows) for rows in PEER_ROWS}


def _queued(layer: Callable[..., object], rows: int) -> float:
    import mlx.core as mx

    repeats = 32 if rows < 64 else 6
    values = mx.random.normal((rows, HIDDEN)).astype(mx.bfloat16)
    ids = [
        mx.array(random_request(rows, turn, experts=EXPERTS).expert_ids.astype(np.uint32))
        for turn in range(repeats)
    ]
    mx.eval(values, ids, layer(values, ids[0]))
    started = time.perf_counter()
    mx.eval([layer(values, one) for one in ids])
    return (time.perf_counter() - started) / repeats * 1e6


def report(times: dict[int, tuple[float, float]], peer: dict[int, float]) -> str:
    lines = [
        f"Hidden size {HIDDEN}, intermediate size {INTERMEDIATE}, top {TOP} of {EXPERTS}, {BITS} bits.",
        "",
        "| rows | queued us | evaluated us | affine 2-bit gather_qmm, queued us | times as fast |",
        "|---|---|---|---|---|",
    ]
    for rows, (queued, evaluated) in times.items():
        beside = f"{peer[rows]:.0f} | {peer[rows] / queued:.1f}" if rows in peer else " | "
        lines.append(f"| {rows} | {queued:.0f} | {evaluated:.0f} | {beside} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, and keep it with --write."""
    given = benchmark_options(__doc__).parse_args()
    backend = CudaBackend()
    weights = random_layer(EXPERTS)
    layers = [backend.load(weights) for _ in range(LAYERS)]
    times = {rows: measure(backend, layers, rows, repeats) for rows, repeats in REPEATS.items()}
    publish(
        "A layer on a GPU",
        "python -m benchmarks.cuda_layer",
        report(times, measure_peer()),
        write=given.write,
    )


if __name__ == "__main__":
    main()
