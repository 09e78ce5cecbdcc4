"""The self-test passes on every backend that computes right, and names the kernel that does not."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from jangtq_kernels.backend import ExpertRows, LoadedLayer, PartialSums
from jangtq_kernels.errors import KernelFaultError
from jangtq_kernels.metal import combine, down_decode, down_prefill, gate_up_decode, gate_up_prefill, rotation
from jangtq_kernels.self_test import check_layer
from jangtq_kernels.weights import ExpertWeights
from tests.support.kernel_backends import CPU_NAMES, backend
from tests.support.metal_cases import metal_backend, random_layer


def two_of(weights: ExpertWeights) -> ExpertWeights:
    """The first and the last expert."""

    def ends(name: str) -> object:
        matrix = getattr(weights, name)
        return dataclasses.replace(matrix, codes=matrix.codes[[0, -1]], norms=matrix.norms[[0, -1]])

    ids = weights.expert_ids[0], weights.expert_ids[-1]
    return ExpertWeights(ids, *(ends(name) for name in ("gate", "up", "down")))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*CPU_NAMES, "metal"])
def test_right_kernels_pass(name: str) -> None:
    weights = random_layer(136, 72)
    passed = check_layer(backend(name).load(weights), two_of(weights))
    assert passed is not None and passed.largest_error < 1e-5
    assert str(passed).startswith("self-test passed: decode of 1, 2, 4 rows and prefill are off by")


def test_weights_whose_answers_overflow_are_not_compared() -> None:
    weights = random_layer(64, 32)
    huge = dataclasses.replace(weights.down, norms=np.full_like(weights.down.norms, np.inf))
    assert check_layer(backend("reference").load(weights), dataclasses.replace(weights, down=huge)) is None


BREAKS = {
    "rotate_rows": (rotation, "SOURCE", "signs[i] : 0.0f", "1.0f : 0.0f"),
    "gate_up_decode": (gate_up_decode, "SOURCE", "raised *= ", "raised *= 2.0f * "),
    "down_decode": (down_decode, "SOURCE", "panel * 32 + index", "panel * 32"),
    "gate_up_prefill": (gate_up_prefill, "SOURCE", "first_pair + index]", "first_pair]"),
    "down_prefill": (down_prefill, "SOURCE", "first_pair + index;", "first_pair + index / 2;"),
    "combine_pairs": (combine, "SOURCE", "int total = 0;", "int total = row;"),
}


@pytest.mark.parametrize("kernel", list(BREAKS))
def test_a_wrong_kernel_is_named(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, right, wrong = BREAKS[kernel]
    source = getattr(module, name)
    assert right in source
    monkeypatch.setattr(module, name, source.replace(right, wrong))
    weights = random_layer(64, 32, experts=2)
    with pytest.raises(KernelFaultError, match=f"the {kernel} kernel is wrong: .*--device cpu"):
        check_layer(metal_backend().load(weights), weights)


@dataclasses.dataclass
class Changed:
    """A layer whose answers are changed on their way."""

    layer: LoadedLayer
    change: Callable[[ExpertRows, PartialSums], PartialSums]

    @property
    def nbytes(self) -> int:
        return self.layer.nbytes

    def forward(self, asked: ExpertRows) -> PartialSums:
        return self.change(asked, self.layer.forward(asked))


def test_bits_that_depend_on_the_place_are_found() -> None:
    def last_bit(asked: ExpertRows, found: PartialSums) -> PartialSums:
        sums = found.sums.copy()
        sums[7:8, 0] += 1
        return PartialSums(sums, found.finest)

    weights = random_layer(64, 32, experts=1)
    layer = Changed(backend("reference").load(weights), last_bit)
    with pytest.raises(KernelFaultError, match="prefill of 32 rows gives a row other bits at another place"):
        check_layer(layer, weights)


def test_answers_that_are_no_numbers_fail() -> None:
    def overflow(asked: ExpertRows, found: PartialSums) -> PartialSums:
        raise OverflowError("an answer is not finite")

    weights = random_layer(64, 32, experts=1)
    with pytest.raises(KernelFaultError, match="decode of 1 rows is off by inf"):
        check_layer(Changed(backend("reference").load(weights), overflow), weights)
