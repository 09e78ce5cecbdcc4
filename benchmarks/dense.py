"""How near dense products and attention of one row come to the speed at which this machine reads memory.

Run as `python -m benchmarks.dense [--write]`. Matrices and KV caches take turns, so that each comes from
memory. Every figure is the median of what was read beside it in the same run.
"""

import statistics
import time
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from benchmarks.machine_peaks import MachinePeaks
from benchmarks.results import benchmark_options, cores, publish
from jangtq_kernels.dense.kernels import (
    DenseKernels,
    DenseMatrix,
    KvColumns,
    LoadedMatrix,
    MatrixSet,
    NumberType,
)

OUT, IN, GROUP = 6144, 3072, 64
HEADS, KV_HEADS, HEAD_SIZE = 48, 8, 128
CONTEXTS = (3_000, 16_000)
TURNS_BYTES = 160 << 20  # that take turns: several times the last cache
ROUNDS = 40


def random_matrix(bits: int, seed: int) -> MatrixSet:
    """6144 x 3072 codes as a bundle holds them."""
    random = np.random.default_rng(seed)
    codes = random.integers(0, 2**32, (OUT, IN * bits // 32), dtype=np.uint32)
    scales = np.full((OUT, IN // GROUP), 0.001, np.float16)
    matrix = DenseMatrix(codes, scales, scales * np.float16(-100), bits, GROUP, NumberType.FLOAT16)
    return MatrixSet([LoadedMatrix(matrix)])


def share_of_reading(
    peaks: MachinePeaks, calls: Iterable[Callable[[], object]], nbytes: int, threads: int
) -> tuple[float, float]:
    """Median gigabytes a second of the calls, and their share of what is read beside them."""
    turns, rates, shares = list(calls), [], []
    for index in range(ROUNDS):
        reading = peaks.read_seconds(nbytes, threads)
        started = time.perf_counter()
        turns[index % len(turns)]()
        seconds = time.perf_counter() - started
        rates.append(nbytes / seconds / 1e9)
        shares.append(reading / seconds)
    return statistics.median(rates), statistics.median(shares)


def measure_products(peaks: MachinePeaks, threads: int) -> list[str]:
    """Table lines of one row times a matrix of each width."""
    kernels, row = DenseKernels(threads), np.ones((1, IN), np.float32)
    lines = []
    for bits in (8, 6, 4):
        nbytes = OUT * (IN * bits // 8 + IN // GROUP * 4)
        matrices = [random_matrix(bits, seed) for seed in range(-(-TURNS_BYTES // nbytes))]
        calls = [partial(kernels.multiply_in_place, row, each) for each in matrices]
        rate, share = share_of_reading(peaks, calls, nbytes, threads)
        lines.append(f"| one row times {OUT} x {IN}, {bits} bits | {threads} | {rate:.1f} | {share:.0%} |")
    return lines


def measure_attention(peaks: MachinePeaks, threads: int) -> list[str]:
    """Table lines of one row over float caches of each length."""
    kernels, random = DenseKernels(threads), np.random.default_rng(3)
    queries = random.standard_normal((1, HEADS, 1, HEAD_SIZE), dtype=np.float32)
    lines = []
    for length in CONTEXTS:
        nbytes = 2 * KV_HEADS * length * HEAD_SIZE * 4
        shape = (1, KV_HEADS, -(-length // 256) * 256, HEAD_SIZE)
        layers = [
            [KvColumns((random.standard_normal(shape, dtype=np.float32),)) for _ in range(2)]
            for _ in range(max(2, TURNS_BYTES // nbytes))
        ]
        calls = [partial(kernels.attend, queries, *each, lengths=[length], scale=0.09) for each in layers]
        rate, share = share_of_reading(peaks, calls, nbytes, threads)
        lines.append(
            f"| attention of one row over {length:,} tokens | {threads} | {rate:.1f} | {share:.0%} |"
        )
    return lines


def main() -> None:
    """Measure with one thread and with every core, print, and keep the table with --write."""
    given = benchmark_options(__doc__).parse_args()
    peaks = MachinePeaks()
    lines = ["| | threads | GB/s | of the read bandwidth |", "|---|---|---|---|"]
    for threads in sorted({1, cores()}):
        lines += measure_products(peaks, threads) + measure_attention(peaks, threads)
    publish("Dense layers", "python -m benchmarks.dense", "\n".join(lines), write=given.write)


if __name__ == "__main__":
    main()
