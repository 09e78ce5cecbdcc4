"""What a Metal worker's processor does for one row before and after the GPU, part by part; kernels are stubs.

Run as `python -m benchmarks.metal_host [--write]`. It needs no Metal: each kernel is taken to be done at
once, so what is left is Python, NumPy and MLX's uploads. Times are medians.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from benchmarks.kernel_work import HIDDEN, TOP, random_request
from benchmarks.results import benchmark_options, publish
from jangtq_kernels.backend import ExpertRows
from jangtq_kernels.checks import check_rows, local_positions, position_table
from jangtq_kernels.codebook import compute_codebook
from jangtq_kernels.metal._common import KernelFactory
from jangtq_kernels.metal.backend import MetalBackend
from jangtq_kernels.metal.routing import move_to_device
from jangtq_kernels.rotation import generate_signs
from jangtq_kernels.weights import ExpertWeights, PackedMatrix

ROUNDS = 3000


@dataclass(frozen=True)
class StubbedMetal:
    """`mx.fast.metal_kernel` whose kernels give the same arrays of zeros at every call."""

    def metal_kernel(self, name: str, *_: object, **__: object) -> Callable[..., list[mx.array]]:
        made: dict[Sequence[int], list[mx.array]] = {}

        def run(
            *, output_shapes: Sequence[Sequence[int]], output_dtypes: Sequence[mx.Dtype], **_: object
        ) -> list[mx.array]:
            (shape,) = output_shapes
            if shape not in made:
                made[shape] = [mx.zeros(shape, output_dtypes[0])]
                mx.eval(made[shape])
            return made[shape]

        return run


def median_us(work: Callable[[], object]) -> float:
    """Microseconds of one call."""
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter_ns()
        work()
        taken.append(time.perf_counter_ns() - started)
    return statistics.median(taken) / 1e3


def small_experts(experts: int) -> ExpertWeights:
    """Of MiniMax-M2.7's hidden size, which is what host time depends on, and few features between."""
    between = 64

    def matrix(out: int, size: int) -> PackedMatrix:
        codes: NDArray[np.uint32] = np.zeros((experts, out, size // 16), dtype=np.uint32)
        norms: NDArray[np.float16] = np.ones((experts, out), dtype=np.float16)
        return PackedMatrix(codes, norms, compute_codebook(size, 2), generate_signs(size, 42), 2)

    return ExpertWeights(
        tuple(range(experts)), matrix(between, HIDDEN), matrix(between, HIDDEN), matrix(HIDDEN, between)
    )


def measure(rows: int) -> dict[str, float]:
    """Microseconds of each part, and of the whole."""
    weights = small_experts(256)
    factory = cast(KernelFactory, StubbedMetal().metal_kernel)
    layer = MetalBackend(factory).load(weights)
    request = random_request(rows, 1)
    asked: ExpertRows = request
    table = position_table(weights.expert_ids)
    positions = local_positions(asked.expert_ids, table)
    answers = mx.zeros(rows * (HIDDEN + HIDDEN // 32), dtype=mx.int32)
    mx.eval(answers)
    return {
        "checking what came": median_us(lambda: check_rows(asked, hidden_size=HIDDEN)),
        "finding the experts": median_us(lambda: local_positions(asked.expert_ids, table)),
        "sorting, packing, uploading": median_us(lambda: move_to_device(asked, positions)),
        "reading back": median_us(lambda: np.array(answers)),
        "the whole forward": median_us(lambda: layer.forward(asked)),
    }


def report(parts: dict[int, dict[str, float]]) -> str:
    """A Markdown table."""
    lines = [
        f"Hidden size {HIDDEN}, top {TOP} of 256 experts, kernels stubbed; microseconds.",
        "",
        "| part | " + " | ".join(f"{rows} row{'s' * (rows > 1)}" for rows in parts) + " |",
        "|---" * (len(parts) + 1) + "|",
    ]
    for name in next(iter(parts.values())):
        lines.append(f"| {name} | " + " | ".join(f"{found[name]:.1f}" for found in parts.values()) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, and keep it with --write."""
    given = benchmark_options(__doc__).parse_args()
    table = report({rows: measure(rows) for rows in (1, 4)})
    publish("Host time of a Metal forward", "python -m benchmarks.metal_host", table, write=given.write)


if __name__ == "__main__":
    main()
