"""Calls of one connection, read one after the other: nothing of one is taken for a part of the next."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jangtq_proto.wire.call_reader import CallReader

from jangtq_proto.errors import CallRejectedError
from jangtq_proto.wire.codec import CallShape, LayerCall, decode_call
from jangtq_proto.wire.frames import call_frame, read_call
from jangtq_proto.wire.row_type import RowType

HIDDEN, LAYERS = 6, 3
SHAPE = CallShape(LAYERS, HIDDEN)


def some_frame(seed: int, *, rows: int, slots: int, row_type: RowType, layer: int) -> bytes:
    random = np.random.default_rng(seed)
    call = LayerCall(
        layer=layer,
        rows=random.standard_normal((rows, HIDDEN)).astype(np.float32),
        expert_ids=random.integers(-1, 9, (rows, slots), dtype=np.int32),
        router_weights=random.random((rows, slots), dtype=np.float32),
        exponents=random.integers(-128, 128, rows, dtype=np.int8),
        prefill=bool(seed % 2),
    )
    return b"".join(memoryview(part).cast("B") for part in call_frame(seed, call, row_type))


class Memory:
    """Shows frames in the same memory, the same object for the same size, as a FrameSocket does."""

    def __init__(self) -> None:
        self._buffer = bytearray(1 << 12)
        self._shown = memoryview(b"")

    def show(self, frame: bytes) -> memoryview:
        self._buffer[: len(frame)] = frame
        if len(self._shown) != len(frame):
            self._shown = memoryview(self._buffer)[: len(frame)].toreadonly()
        return self._shown


def check_read(reader: CallReader, frame: memoryview) -> None:
    """As it would be read by whoever never saw another."""
    expected, found = decode_call(read_call(frame), SHAPE), reader.read(frame)
    assert (found.layer, found.prefill, found.rows.dtype) == (
        expected.layer,
        expected.prefill,
        expected.rows.dtype,
    )
    for name in ("rows", "expert_ids", "router_weights", "exponents"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@given(
    calls=st.lists(
        st.tuples(
            st.integers(0, 9),
            st.integers(1, 3),
            st.integers(1, 3),
            st.sampled_from(list(RowType)),
            st.integers(0, LAYERS - 1),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_whatever_came_before_a_call_is_read_as_it_is(
    calls: list[tuple[int, int, int, RowType, int]],
) -> None:
    memory, reader = Memory(), CallReader(SHAPE)
    for seed, rows, slots, row_type, layer in calls:
        frame = some_frame(seed, rows=rows, slots=slots, row_type=row_type, layer=layer)
        check_read(reader, memory.show(frame))


def test_calls_that_differ_in_their_layer_alone_are_made_once() -> None:
    memory, reader = Memory(), CallReader(SHAPE)
    frames = [some_frame(2, rows=1, slots=2, row_type=RowType.FLOAT32, layer=n) for n in range(LAYERS)]
    first = [reader.read(memory.show(frame)) for frame in frames]
    again = [reader.read(memory.show(frame)) for frame in frames]
    assert all(one is other for one, other in zip(first, again, strict=True))


def test_the_same_layout_in_other_memory_is_looked_at_there() -> None:
    reader = CallReader(SHAPE)
    for seed in (2, 4):
        frame = some_frame(seed, rows=1, slots=2, row_type=RowType.FLOAT16, layer=0)
        check_read(reader, Memory().show(frame))


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (4, LAYERS, "layer 3: this model has layers 0-2"),
        (16, 0, "row_count 0"),
        (20, 99, "slot_count 99"),
        (24, 77, "row_type 77"),
        (32, 2**31, "says it holds"),
    ],
)
def test_a_bad_call_between_good_ones_is_refused_each_time(at: int, value: int, words: str) -> None:
    memory, reader = Memory(), CallReader(SHAPE)
    good = some_frame(2, rows=1, slots=2, row_type=RowType.FLOAT32, layer=1)
    bad = good[:at] + value.to_bytes(4, "little") + good[at + 4 :]
    for _ in range(2):
        check_read(reader, memory.show(good))
        for _ in range(2):
            with pytest.raises(CallRejectedError, match=words):
                reader.read(memory.show(bad))
