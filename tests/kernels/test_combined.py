"""Layers of several pieces answer as one layer would."""

from pathlib import Path

import numpy as np
import pytest

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.loading import load_layers
from jangtq_kernels.backend import NO_EXPERT
from jangtq_kernels.combined import CombinedLayer, Piece
from jangtq_kernels.errors import KernelInputError
from jangtq_kernels.reference import ReferenceBackend
from tests.support.scripted_workers import some_call


def test_pieces_answer_what_one_layer_would(small_bundle: Path) -> None:
    bundle, backend = Bundle.open(small_bundle), ReferenceBackend()
    halves = [tuple(range(20)), tuple(range(20, 32))]
    pieces = [Piece(half, load_layers(bundle, backend, half)[0]) for half in halves]
    whole = load_layers(bundle, backend, tuple(range(32)))[0]
    for seed in range(5):
        call = some_call(rows=4, seed=seed)
        combined, expected = CombinedLayer(pieces).forward(call), whole.forward(call)
        np.testing.assert_array_equal(combined.finest, expected.finest)
        meant = expected.finest <= call.exponents
        np.testing.assert_array_equal(combined.sums[meant], expected.sums[meant])
    assert CombinedLayer(pieces).nbytes == whole.nbytes
    nobody = some_call(rows=2)
    nobody.expert_ids[:] = NO_EXPERT
    assert not CombinedLayer(pieces).forward(nobody).sums.any()
    with pytest.raises(KernelInputError, match="is not held here"):
        CombinedLayer(pieces[:1]).forward(some_call(rows=8))
