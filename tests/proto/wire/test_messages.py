"""Calls written and answers read without protobuf: the bytes that it writes, and never another answer."""

from dataclasses import replace

import numpy as np
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from jangtq_coordinator.transport.answer_decoding import decode_answer
from jangtq_coordinator.transport.plain_answers import read_plain_answer
from jangtq_proto.wire.messages import CallWriter, varint

from jangtq_coordinator.transport.connection import LayerAnswer
from jangtq_proto.errors import ClusterError
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.wire.codec import LayerCall, answer_checksum, encode_call
from jangtq_proto.wire.row_type import RowType
from tests.support.mutations import Mutator, scaled

HIDDEN = 8
call_ids = st.integers(1, 2**64 - 1)
nanoseconds = st.integers(0, 2**64 - 1) | st.integers(0, 300)


def some_call(layer: int, shape: tuple[int, int, int], *, prefill: bool) -> LayerCall:
    rows, slots, hidden = shape
    random = np.random.default_rng(rows)
    return LayerCall(
        layer,
        rows=random.standard_normal((rows, hidden)).astype(np.float32),
        expert_ids=random.integers(-1, 8, (rows, slots), dtype=np.int32),
        router_weights=random.random((rows, slots), dtype=np.float32),
        exponents=random.integers(-128, 128, rows, dtype=np.int8),
        prefill=prefill,
    )


@given(
    call_id=call_ids,
    layer=st.integers(0, 2**32 - 1),
    shapes=st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 33), st.integers(0, 40)), min_size=1, max_size=3
    ),
    row_type=st.sampled_from(RowType),
    prefill=st.booleans(),
    across=st.booleans(),
)
def test_calls_are_written_as_protobuf_writes_them(
    call_id: int,
    layer: int,
    shapes: list[tuple[int, int, int]],
    row_type: RowType,
    prefill: bool,
    across: bool,
) -> None:
    writer = CallWriter(row_type)
    for shape in shapes * 2:
        call = some_call(layer, shape, prefill=prefill)
        if across:
            columns_first = np.asfortranarray(call.rows), np.asfortranarray(call.expert_ids)
            call = replace(call, rows=columns_first[0], expert_ids=columns_first[1])
        assert writer.write(call_id, call) == encode_call(call_id, call, row_type).SerializeToString()


def test_a_writer_of_many_shapes_keeps_few() -> None:
    writer = CallWriter(RowType.FLOAT32)
    for layer in range(10_000):
        call = some_call(layer, (1, 2, 4), prefill=False)
        assert writer.write(7, call) == encode_call(7, call, RowType.FLOAT32).SerializeToString()
    assert len(writer._layouts) < 5000


@given(st.integers(0, 2**64 - 1))
def test_varints_are_those_of_protobuf(number: int) -> None:
    expected = pb.ExpertReply(queue_ns=number).SerializeToString()[1:]
    assert varint(number) == (expected or b"\0")


def reply(
    call_id: int, row_count: int, *, queue_ns: int = 1000, compute_ns: int = 20, seed: int = 0
) -> pb.ExpertReply:
    random = np.random.default_rng(seed)
    sums = random.integers(-(2**31), 2**31, (row_count, HIDDEN), dtype=np.int32).tobytes()
    finest = random.integers(-128, 128, row_count, dtype=np.int8).tobytes()
    return pb.ExpertReply(
        call_id=call_id,
        partial_sums=sums,
        finest=finest,
        checksum=answer_checksum(call_id, sums, finest),
        queue_ns=queue_ns,
        compute_ns=compute_ns,
    )


def by_protobuf(data: bytes, call_id: int, shape: tuple[int, int]) -> LayerAnswer | None:
    """None where the connection would fail, or take this for the answer to another call."""
    try:
        message = pb.ExpertReply.FromString(data)
        if message.call_id != call_id or message.WhichOneof("result") == "failure":
            return None
        return decode_answer(message, message.partial_sums, message.finest, shape=shape, worker="w")
    except (DecodeError, ClusterError):
        return None


def assert_same(found: LayerAnswer, expected: LayerAnswer) -> None:
    np.testing.assert_array_equal(found.partial_sums, expected.partial_sums)
    np.testing.assert_array_equal(found.finest, expected.finest)
    for ours, theirs in ((found.partial_sums, expected.partial_sums), (found.finest, expected.finest)):
        assert (str(ours.dtype), ours.shape) == (str(theirs.dtype), theirs.shape)
    assert (found.queue_ns, found.compute_ns) == (expected.queue_ns, expected.compute_ns)
    assert not found.partial_sums.flags.writeable


@given(
    call_id=call_ids,
    row_count=st.integers(1, 200),
    queue_ns=nanoseconds,
    compute_ns=nanoseconds,
    seed=st.integers(0, 9),
)
def test_answers_are_read_as_protobuf_reads_them(
    call_id: int, row_count: int, queue_ns: int, compute_ns: int, seed: int
) -> None:
    message = reply(call_id, row_count, queue_ns=queue_ns, compute_ns=compute_ns, seed=seed)
    data, shape = message.SerializeToString(), (row_count, HIDDEN)
    found, expected = read_plain_answer(data, call_id, shape), by_protobuf(data, call_id, shape)
    assert expected is not None
    if max(queue_ns, compute_ns) < 2**63 and message.checksum:
        assert found is not None
    if found is not None:
        assert_same(found, expected)
    assert read_plain_answer(data, call_id ^ 1, shape) is None
    assert read_plain_answer(data, call_id, (row_count + 1, HIDDEN)) is None
    assert read_plain_answer(data, call_id, (row_count, HIDDEN - 1)) is None


def test_whatever_bytes_come_no_answer_is_read_that_protobuf_would_not_read() -> None:
    mutator, taken = Mutator(11), 0
    seeds = [
        (rows, reply(7, rows, queue_ns=queue, compute_ns=300, seed=rows).SerializeToString())
        for rows in (1, 3)
        for queue in (0, 5, 2**40)
    ]
    for index in range(scaled(20_000)):
        rows, good = seeds[index % len(seeds)]
        data = mutator.mutate(good)
        found = read_plain_answer(data, 7, (rows, HIDDEN))
        if found is not None:
            taken += 1
            expected = by_protobuf(data, 7, (rows, HIDDEN))
            assert expected is not None
            assert_same(found, expected)
    assert taken > 100


def test_other_ways_to_write_an_answer_are_left_to_protobuf() -> None:
    message = reply(7, 1)
    good, shape = message.SerializeToString(), (1, HIDDEN)
    assert read_plain_answer(good, 7, shape) is not None
    assert read_plain_answer(good + b"\xf8\x01\x05", 7, shape) is None
    assert read_plain_answer(good + good, 7, shape) is None
    assert read_plain_answer(b"", 7, shape) is None
    failure = pb.ExpertReply(call_id=7, failure=pb.Failure(status=13, message="no"))
    assert read_plain_answer(failure.SerializeToString(), 7, shape) is None
    endless = good.replace(b"\x20\xe8\x07", b"\x20" + b"\xff" * 12 + b"\x07")
    assert endless != good and read_plain_answer(endless, 7, shape) is None
