"""Every instantiation of every Metal kernel, as clang's type checker sees it; runs no kernel."""

import random
import sys
from dataclasses import replace
from functools import cache

import mlx.core as mx
import numpy as np
import pytest

from jangtq_kernels.metal.backend import MetalBackend
from jangtq_kernels.metal.rotation import Rotation
from tests.support.kernel_backends import Asked
from tests.support.metal_cases import FIRST_EXPERT, random_layer, random_rows
from tests.support.metal_simulator.signature import Call
from tests.support.metal_simulator.type_check import (
    CallRecorder,
    complaints,
    contractions,
    mutants,
)
from tests.support.products import IS_WHOLE

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="Macs have Metal's own compiler")

KERNELS = (
    *("rotate_rows", "rotate_rows_stepwise", "gate_up_decode", "down_decode"),
    *("gate_up_prefill", "down_prefill", "combine_pairs"),
)
BITS = [(2, 2), (3, 3), (4, 4), (2, 4), (4, 2)]
SIZES = [(128, 64), (200, 136), (3072, 1536)]
MUTANTS = 40


@cache
def instantiations() -> dict[str, list[Call]]:
    recorder = CallRecorder()
    for hidden, intermediate in SIZES:
        for bits in BITS if hidden < 3072 else BITS[:1]:
            experts = random_layer(hidden, intermediate, experts=1, bits=bits)
            layer = MetalBackend(recorder.metal_kernel).load(experts)
            for rows, prefill in ((1, False), (2, False), (4, False), (5, True)):
                values, _, weights = random_rows(rows, hidden, experts=1, slots=1)
                ids = np.full((rows, 1), FIRST_EXPERT, dtype=np.int32)
                layer.forward(Asked(values, ids, weights, np.full(rows, -18, np.int8), prefill))
        zeros = mx.zeros(hidden)
        Rotation(recorder.metal_kernel, stepwise=True)(zeros, zeros, count=1, stride=hidden)
    return recorder.by_kernel()


def rows_of(call: Call) -> int:
    rows = dict(call.template).get("ROWS", 0)
    assert isinstance(rows, int)
    return rows


def test_nothing_is_left_out() -> None:
    assert sorted(instantiations()) == sorted(KERNELS)
    rows = {dict(call.template)["ROWS"] for call in instantiations()["gate_up_decode"]}
    assert rows == {1, 2, 4}


@pytest.mark.parametrize("kernel", KERNELS)
def test_address_spaces_and_types_fit(kernel: str) -> None:
    calls = instantiations()[kernel]
    assert complaints(calls) == []


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_expression_changes_where_a_compiler_contracts(kernel: str) -> None:
    assert contractions(instantiations()[kernel]) == []


def test_an_expression_that_may_be_contracted_is_found() -> None:
    (call, *_) = instantiations()["combine_pairs"]
    right = "const float steps = answer * scale;"
    assert right in call.kernel.source
    source = call.kernel.source.replace(right, "const float steps = answer * scale + scale;")
    assert contractions([replace(call, kernel=replace(call.kernel, source=source))])


def test_nine_of_ten_wrong_address_spaces_are_found() -> None:
    """Of all kernels together: some of a shared header's templates are used by one of them only."""
    largest = [max(calls, key=rows_of) for calls in instantiations().values()]
    made = [mutant for call in largest for mutant in mutants(call)]
    if not IS_WHOLE:
        made = random.Random(17).sample(made, MUTANTS)
    missed = [label for label, mutant in made if not complaints([mutant])]
    assert len(missed) <= len(made) / 10, missed
