"""Whether a layer's kernels compute right on this device: rows of every kernel against the reference.

Rows that decode alone or share a decoding, and rows at every place of a prefill tile, must also have the same
bits where they are the same, which is what LoadedLayer.forward promises.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import ExpertRows, LoadedLayer
from jangtq_kernels.errors import KernelFaultError
from jangtq_kernels.grid import COARSEST, finest_exponents, magnitudes_of
from jangtq_kernels.reference import expert_forward, gate_up
from jangtq_kernels.rotation import rotate
from jangtq_kernels.weights import ExpertWeights

ALLOWED_ERROR: Final = 1e-3
"""Of the largest output. Kernels are off by 1e-6 of it, float32 in another order by little more; one that is
wrong is off by far more."""
DECODE_ROWS: Final = (1, 2, 4)
PREFILL_ROWS: Final = 32
"""A tile of the Metal kernels."""
_SHARES: Final = (0.625, 0.375)
"""Router weights of the experts; exact in float32."""


@dataclass(frozen=True)
class Passed:
    """The largest error found, of the largest output, and what the test took."""

    largest_error: float
    seconds: float

    def __str__(self) -> str:
        counts = ", ".join(map(str, DECODE_ROWS))
        return (
            f"self-test passed: decode of {counts} rows and prefill are off by {self.largest_error:.1e} "
            f"at most ({self.seconds * 1e3:.0f} ms)"
        )


@runtime_checkable
class Staged(Protocol):
    """A LoadedLayer that shows what each of its kernels computes, to find the wrong one."""

    def stages(self, asked: ExpertRows) -> Mapping[str, NDArray[np.float32]]:
        """By kernel: "rotate_rows" [rows, hidden], "gate_up" [pairs, intermediate], "down" [pairs, hidden].

        Pairs of a row and an expert are sorted by expert, then by row.
        """


@dataclass(frozen=True)
class _Asked:
    rows: NDArray[np.float32]
    expert_ids: NDArray[np.int32]
    router_weights: NDArray[np.float32]
    exponents: NDArray[np.int8]
    prefill: bool


@dataclass(frozen=True)
class _Expected:
    """Two rows, what they should become, float64 [2, hidden], and the exponents of their grids."""

    weights: ExpertWeights
    rows: NDArray[np.float32]
    answers: NDArray[np.float64]
    exponents: NDArray[np.int8]

    def asked(self, kinds: NDArray[np.intp], *, prefill: bool) -> _Asked:
        """A call for rows of these kinds, 0 or 1, each for every expert."""
        experts = self.weights.expert_ids
        count = len(kinds)
        return _Asked(
            rows=self.rows[kinds],
            expert_ids=np.tile(np.array(experts, dtype=np.int32), (count, 1)),
            router_weights=np.tile(np.array(_SHARES[: len(experts)], dtype=np.float32), (count, 1)),
            exponents=self.exponents[kinds],
            prefill=prefill,
        )


def check_layer(
    layer: LoadedLayer, weights: ExpertWeights, *, allowed: float = ALLOWED_ERROR
) -> Passed | None:
    """Ask a layer for experts that it holds; `weights` are those of one or two of them.

    None where answers of these weights are too large to compare. Raises KernelFaultError, which names the
    kernel where the layer is Staged.
    """
    started = time.perf_counter()
    expected = _expected(weights)
    if expected is None:
        return None
    largest = max(
        _check_way(layer, expected, counts, prefill=prefill, allowed=allowed)
        for prefill, counts in ((False, DECODE_ROWS), (True, (PREFILL_ROWS,)))
    )
    return Passed(largest, time.perf_counter() - started)


def _check_way(
    layer: LoadedLayer, expected: _Expected, counts: tuple[int, ...], *, prefill: bool, allowed: float
) -> float:
    """The largest error in decode or in prefill; either row is at every place of a tile once."""
    largest, kept = 0.0, dict[int, NDArray[np.int32]]()
    for count in counts:
        for first in (0, 1):
            kinds = (np.arange(count) + first) % 2
            asked = expected.asked(kinds, prefill=prefill)
            sums, error = _forward(layer, asked, expected.answers[kinds])
            if not error <= allowed:
                raise _fault(layer, asked, expected, f"is off by {error:.1e} of the largest output")
            if not all(
                np.array_equal(kept.setdefault(int(kind), row), row)
                for kind, row in zip(kinds, sums, strict=True)
            ):
                raise _fault(layer, asked, expected, "gives a row other bits at another place")
            largest = max(largest, error)
    return largest


def _forward(
    layer: LoadedLayer, asked: _Asked, answers: NDArray[np.float64]
) -> tuple[NDArray[np.int32], float]:
    """The sums, and how far they are from the answers [rows, hidden], of the largest of these."""
    try:
        sums = layer.forward(asked).sums
    except OverflowError:
        return np.zeros(answers.shape, dtype=np.int32), float("inf")
    got = np.ldexp(sums.astype(np.float64), asked.exponents[:, None].astype(np.int32))
    scale = float(np.abs(answers).max())
    return sums, float(np.abs(got - answers).max()) / (scale or 1.0)


def _expected(weights: ExpertWeights) -> _Expected | None:
    """None where the answers are not finite in float32."""
    rows = np.random.default_rng(0).standard_normal((2, weights.hidden_size), dtype=np.float32)
    rotated = rotate(rows.astype(np.float64), weights.gate.signs)
    shares = _SHARES[: len(weights.expert_ids)]
    with np.errstate(over="ignore", invalid="ignore"):
        answers = sum(
            (share * expert_forward(weights, place, rotated) for place, share in enumerate(shares)),
            np.zeros(rows.shape),
        )
        magnitudes = magnitudes_of(answers.astype(np.float32))
    try:
        # One more, for what rounds up to the next power of two here and not there.
        exponents = np.minimum(finest_exponents(magnitudes).astype(np.int16) + 2, COARSEST).astype(np.int8)
    except OverflowError:
        return None
    return _Expected(weights, rows, answers, exponents)


def _fault(layer: LoadedLayer, asked: _Asked, expected: _Expected, what: str) -> KernelFaultError:
    way = f"{'prefill' if asked.prefill else 'decode'} of {len(asked.rows)} rows"
    kernel = _wrong_stage(layer, asked, expected) if isinstance(layer, Staged) else None
    named = f"the {kernel} kernel is wrong: {way}" if kernel else way
    return KernelFaultError(
        f"self-test failed: {named} {what}. Start with --device cpu, which computes the same without these "
        "kernels, and report this line with your chip and system"
    )


def _wrong_stage(layer: Staged, asked: _Asked, expected: _Expected) -> str:
    """The first kernel of the chain that is far from the reference."""
    weights, experts = expected.weights, range(len(expected.weights.expert_ids))
    rotated = rotate(asked.rows.astype(np.float64), weights.gate.signs)
    activated = np.concatenate([gate_up(weights, place, rotated) for place in experts])
    projected = np.concatenate([expert_forward(weights, place, rotated) for place in experts])
    reference = {"rotate_rows": rotated, "gate_up": activated, "down": projected}
    for name, found in layer.stages(asked).items():
        right = reference[name]
        with np.errstate(over="ignore", invalid="ignore"):
            error = np.abs(found - right).max()
        if not error <= ALLOWED_ERROR * np.abs(right).max():
            way = "" if name == "rotate_rows" else "_prefill" if asked.prefill else "_decode"
            return name + way
    return "combine_pairs"
