"""Rows, expert ids and router weights as one array of bytes: what was packed comes back, to the bit."""

import mlx.core as mx
import numpy as np
import pytest

from jangtq_coordinator.model.packed_rows import pack, unpack
from jangtq_coordinator.model.routed_experts import MLX_DTYPE
from jangtq_proto.wire.codec import row_dtype
from jangtq_proto.wire.row_type import RowType


@pytest.mark.parametrize("row_type", list(RowType))
@pytest.mark.parametrize("rows", [1, 3])
def test_what_was_packed_comes_back(row_type: RowType, rows: int) -> None:
    x = mx.random.normal((rows, 6)).astype(MLX_DTYPE[row_type])
    ids = mx.random.randint(0, 256, (rows, 4)).astype(mx.int32)
    weights = mx.random.uniform(shape=(rows, 4))
    packed = pack(x, ids, weights)
    mx.eval(packed, x, ids, weights)
    found = unpack(packed, rows, 6, 4, row_type=row_type)
    assert found.rows.dtype == row_dtype(row_type)
    np.testing.assert_array_equal(found.rows.astype(np.float32), np.array(x.astype(mx.float32)))
    np.testing.assert_array_equal(found.expert_ids, np.array(ids))
    np.testing.assert_array_equal(found.router_weights, np.array(weights))
