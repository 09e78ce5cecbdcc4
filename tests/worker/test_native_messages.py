"""Messages answered without the interpreter: Python's replies, and nothing that protobuf reads otherwise."""

from functools import cache

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from jangtq_worker.native_stream import ANY_ROWS, NativeStream, NoReply

from jangtq_kernels.cpu_library import Status
from jangtq_proto.errors import ClusterError
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.wire.codec import answer_checksum, encode_call
from jangtq_proto.wire.row_type import RowType
from jangtq_worker.device.activity import StreamActivity
from jangtq_worker.device.admission import Admission
from tests.support.mutations import Mutator, scaled
from tests.support.native_calls import HIDDEN, LAYERS, MOST_ROWS, message_of, real_admission, some_call
from tests.support.native_layers import ScriptedNativeLayer, scripted_admission

LEFT, TOO_LONG = NoReply.LEFT_TO_PYTHON, NoReply.TOO_LONG


def stream_at(admission: Admission) -> NativeStream:
    assert admission.native is not None, "the library was compiled"
    return NativeStream(admission.native, lambda: True, StreamActivity())


@cache
def real_stream() -> NativeStream:
    return stream_at(real_admission())


def by_python(message: pb.ExpertCall) -> pb.ExpertReply | None:
    """Without the times; None where there is a failure."""
    try:
        found = real_admission().compute(message).partial_sums
    except ClusterError:
        return None
    sums, finest = found.sums.tobytes(), found.finest.tobytes()
    checksum = answer_checksum(message.call_id, sums, finest)
    return pb.ExpertReply(call_id=message.call_id, partial_sums=sums, finest=finest, checksum=checksum)


def read_reply(data: bytes) -> pb.ExpertReply:
    """Without the times; fails where protobuf would have written the reply in another way."""
    reply = pb.ExpertReply.FromString(data)
    assert reply.SerializeToString() == data
    reply.ClearField("queue_ns")
    reply.ClearField("compute_ns")
    return reply


@given(
    call_id=st.integers(0, 2**64 - 1),
    rows=st.integers(1, MOST_ROWS),
    slots=st.integers(1, 32),
    layer=st.integers(0, LAYERS - 1),
    row_type=st.sampled_from(RowType),
    seed=st.integers(0, 99),
)
def test_the_reply_is_that_of_python(
    call_id: int, rows: int, slots: int, layer: int, row_type: RowType, seed: int
) -> None:
    message = encode_call(call_id, some_call(rows, slots=slots, layer=layer, seed=seed), row_type)
    found = real_stream().answer(message.SerializeToString(), ANY_ROWS)
    assert isinstance(found, bytes)
    assert read_reply(found) == by_python(message)
    assert real_stream().row_ns.value > 0


def test_whatever_bytes_come_the_reply_is_that_of_python_or_there_is_none() -> None:
    mutator = Mutator(12)
    good = [message_of(some_call(n, seed=n), kind).SerializeToString() for n in (1, 3) for kind in RowType]
    answered = left = 0
    for index in range(scaled(5_000)):
        data = mutator.mutate(good[index % len(good)])
        found = real_stream().answer(data, ANY_ROWS)
        if isinstance(found, bytes):
            answered += 1
            assert read_reply(found) == by_python(pb.ExpertCall.FromString(data))
        else:
            left += 1
    assert answered > 100 and left > 100


def fields(message: pb.ExpertCall) -> list[bytes]:
    """Each field on its own, as protobuf writes it."""
    singles = (pb.ExpertCall(**{field.name: value}) for field, value in message.ListFields())
    return [single.SerializeToString() for single in singles]


@given(st.integers(0, 2**32))
def test_fields_in_any_order_are_read_as_protobuf_reads_them_or_left_to_it(seed: int) -> None:
    mutator = Mutator(seed)
    parts = fields(message_of(some_call(1, seed=seed % 99)))
    for _ in range(mutator.random.randrange(1, 4)):
        at, other = mutator.random.randrange(len(parts)), mutator.random.randrange(len(parts))
        change = mutator.random.randrange(3)
        if change == 0:
            parts[at], parts[other] = parts[other], parts[at]
        elif change == 1:
            parts.insert(at, parts[other])
        else:
            parts.insert(at, b"\xf8\x01\x05")
    data = b"".join(parts)
    found = real_stream().answer(data, ANY_ROWS)
    if isinstance(found, bytes):
        assert read_reply(found) == by_python(pb.ExpertCall.FromString(data))


def test_what_is_written_in_another_way_is_left_to_protobuf() -> None:
    good = message_of(some_call(1)).SerializeToString()
    assert isinstance(real_stream().answer(good, ANY_ROWS), bytes)
    for data in (good + good, good + b"\xf8\x01\x05", good[:-1], good + b"\x08\x09", good[::-1], b""):
        assert real_stream().answer(data, ANY_ROWS) is LEFT
    assert real_stream().answer(b"\x08" + b"\xff" * 9 + b"\x02" + good[2:], ANY_ROWS) is LEFT
    wide = b"\x08\x09\x10" + b"\x80" * 4 + b"\x10" + good[2:]
    with pytest.raises(DecodeError):
        pb.ExpertCall.FromString(good[:-1])
    assert pb.ExpertCall.FromString(wide).layer == 0, "protobuf takes the lower bits"
    assert real_stream().answer(wide, ANY_ROWS) is LEFT


def test_longer_calls_than_are_waited_for_are_not_computed() -> None:
    layer = ScriptedNativeLayer(HIDDEN)
    stream = stream_at(scripted_admission(layer))
    data = message_of(some_call(3)).SerializeToString()
    assert stream.answer(data, 2) is TOO_LONG
    assert layer.native_calls == 0
    assert isinstance(stream.answer(data, 3), bytes)
    assert stream.answer(message_of(some_call(MOST_ROWS + 1)).SerializeToString(), ANY_ROWS) is LEFT
    layer.status = Status.ROWS_NOT_FINITE
    assert stream.answer(data, 3) is LEFT


def test_a_reply_is_not_changed_by_the_next() -> None:
    first, second = (message_of(some_call(1, seed=seed)) for seed in (1, 2))
    found = real_stream().answer(first.SerializeToString(), ANY_ROWS)
    assert isinstance(real_stream().answer(second.SerializeToString(), ANY_ROWS), bytes)
    assert isinstance(found, bytes)
    assert read_reply(found) == by_python(first)
