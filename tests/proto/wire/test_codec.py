"""Expert calls on the wire: what goes out comes back, and whatever is malformed is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jangtq_kernels.grid import SLOTS
from jangtq_proto.errors import CallRejectedError
from jangtq_proto.wire.codec import (
    CallShape,
    LayerCall,
    decode_call,
    decode_finest,
    decode_partial_sums,
    row_dtype,
)
from jangtq_proto.wire.frames import call_frame, read_call
from jangtq_proto.wire.limits import MAX_ROWS_PER_CALL, MAX_SLOTS
from jangtq_proto.wire.row_type import RowType

SHAPE = CallShape(layer_count=4, hidden_size=16)


def some_call(rows: int = 3, slots: int = 2) -> LayerCall:
    random = np.random.default_rng(0)
    return LayerCall(
        layer=2,
        rows=random.standard_normal((rows, SHAPE.hidden_size)).astype(np.float32),
        expert_ids=random.integers(-1, 8, (rows, slots), dtype=np.int32),
        router_weights=random.random((rows, slots), dtype=np.float32),
        exponents=random.integers(-128, 128, rows, dtype=np.int8),
        prefill=bool(rows % 2),
    )


@given(rows=st.integers(1, 9), slots=st.integers(1, 8), row_type=st.sampled_from(list(RowType)))
def test_a_call_comes_back_as_it_went(rows: int, slots: int, row_type: RowType) -> None:
    call = some_call(rows, slots)
    message = read_call(call_frame(7, call, row_type))
    back = decode_call(message, SHAPE)
    assert (message.call_id, back.layer) == (7, call.layer)
    np.testing.assert_array_equal(back.rows, call.rows.astype(row_dtype(row_type)))
    np.testing.assert_array_equal(back.expert_ids, call.expert_ids)
    np.testing.assert_array_equal(back.router_weights, call.router_weights)
    np.testing.assert_array_equal(back.exponents, call.exponents)
    assert back.prefill == call.prefill


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layer", 4),
        ("row_count", 0),
        ("row_count", 2),
        ("row_count", MAX_ROWS_PER_CALL + 1),
        ("row_count", 2**32 - 1),
        ("slot_count", 0),
        ("slot_count", MAX_SLOTS + 1),
        ("row_type", 0),
        ("row_type", 9),
        ("rows", b""),
        ("rows", b"x" * 191),
        ("expert_ids", b"x"),
        ("router_weights", b"x" * 28),
        ("exponents", b"xx"),
    ],
)
def test_a_malformed_field_is_refused(field: str, value: int | bytes) -> None:
    message = read_call(call_frame(7, some_call(), RowType.FLOAT32))
    with pytest.raises(CallRejectedError):
        decode_call(message._replace(**{field: value}), SHAPE)  # type: ignore[arg-type]


def test_partial_sums_of_the_wrong_length_are_refused() -> None:
    with pytest.raises(CallRejectedError, match="partial_sums"):
        decode_partial_sums(b"abc", (1, 16))
    with pytest.raises(CallRejectedError, match="finest has 3 bytes: \\[4\\] of int8 takes 4"):
        decode_finest(b"abc", 4)


def test_the_wire_has_room_for_as_many_slots_as_a_sum() -> None:
    assert MAX_SLOTS == SLOTS
