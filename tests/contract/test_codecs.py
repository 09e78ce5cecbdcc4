"""What both codecs owe the dispatcher: one suite over C++ and NumPy, and the same bits of both."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jangtq_coordinator.dispatch.codec import NOBODY, Codec, LayerRows, Part, Reply
from jangtq_coordinator.dispatch.native_codec import NativeCodec
from jangtq_coordinator.dispatch.numpy_codec import NumpyCodec, add_units
from jangtq_kernels.backend import NO_EXPERT
from jangtq_kernels.grid import COARSEST, FINEST
from jangtq_proto.errors import CallRejectedError, ClusterError, WorkerBusyError, WorkerFaultError
from jangtq_proto.wire.codec import CallShape, decode_call, row_dtype
from jangtq_proto.wire.frames import ANSWER_HEAD_BYTES, answer_frame, failure_frame, read_call
from jangtq_proto.wire.row_type import RowType
from tests.support.mutations import Mutator, scaled

EXPERTS, LAYERS, CALL = 12, 3, 2**40
CODECS: dict[str, Callable[[RowType], Codec]] = {"native": NativeCodec, "numpy": NumpyCodec}


@pytest.fixture(params=CODECS, ids=str)
def codec(request: pytest.FixtureRequest) -> Codec:
    return CODECS[request.param](RowType.FLOAT32)


def some_rows(rows: int, slots: int = 4, *, hidden: int = 9, seed: int = 0) -> LayerRows:
    random = np.random.default_rng(seed)
    ids = random.integers(NO_EXPERT, EXPERTS, (rows, slots), dtype=np.int32)
    return LayerRows(
        2,
        random.standard_normal((rows, hidden)).astype(np.float32),
        ids,
        random.random((rows, slots), dtype=np.float32),
        random.integers(-24, -10, rows, dtype=np.int8),
        prefill=bool(seed % 2),
    )


def owners_of(workers: int, *, seed: int = 0) -> NDArray[np.int32]:
    """Any expert with any worker, some with none."""
    return np.random.default_rng(seed).integers(NOBODY, workers, EXPERTS).astype(np.int32)


def answers_to(parts: Sequence[Part], hidden: int = 9, *, seed: int = 0) -> list[Reply]:
    random = np.random.default_rng(seed)
    replies = []
    for number, part in enumerate(part for part in parts if part.worker != NOBODY):
        sums = random.integers(-(2**31), 2**31, (part.row_count, hidden)).astype(np.int32)
        finest = random.integers(-40, -8, part.row_count).astype(np.int8)
        frame = answer_frame(part.call_id, sums, finest, queue_ns=number, compute_ns=2**33)
        replies.append(Reply(part, frame))
    return replies


def assert_same_parts(one: Sequence[Part], other: Sequence[Part]) -> None:
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        for field in ("worker", "call_id", "frame", "row_count", "picks", "distinct"):
            assert getattr(left, field) == getattr(right, field), field
        np.testing.assert_equal(left.row_index, right.row_index)


shapes = {"rows": st.integers(1, 70), "slots": st.integers(1, 32), "hidden": st.integers(1, 40)}


@settings(deadline=None)
@given(**shapes, workers=st.integers(1, 5), row_type=st.sampled_from(list(RowType)), seed=st.integers(0, 99))
def test_both_have_the_same_bits(
    rows: int, slots: int, hidden: int, workers: int, row_type: RowType, seed: int
) -> None:
    native, numpy = NativeCodec(row_type), NumpyCodec(row_type)
    asked, owners = some_rows(rows, slots, hidden=hidden, seed=seed), owners_of(workers, seed=seed)
    exponents = native.choose_exponents(asked.rows, 1.5)
    np.testing.assert_array_equal(exponents, numpy.choose_exponents(asked.rows, 1.5))
    asked = asked._replace(exponents=exponents)
    parts = native.encode(asked, owners, CALL)
    assert_same_parts(parts, numpy.encode(asked, owners, CALL))
    replies = answers_to(parts, hidden, seed=seed)
    one, other = native.add(asked, replies), numpy.add(asked, replies)
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.finest, other.finest)
    assert (one.unfit, one.times) == (other.unfit, other.times) and one.faults == other.faults == {}


@pytest.mark.parametrize("rows", [1, 5, 300])
def test_each_pick_travels_once_to_its_owner(codec: Codec, rows: int) -> None:
    asked, owners = some_rows(rows), owners_of(3)
    parts = codec.encode(asked, owners, CALL)
    assert [part.worker for part in parts[:-1]] == sorted(part.worker for part in parts[:-1])
    assert parts[-1].worker == NOBODY and parts[-1].frame == b""
    seen = np.full_like(asked.expert_ids, NO_EXPERT)
    for part in parts:
        own = part.own_ids()
        assert set(owners[own[own >= 0]].tolist()) == {part.worker}
        assert part.picks == np.count_nonzero(own >= 0) and part.own_experts() == set(own[own >= 0].tolist())
        assert part.distinct == len(part.own_experts())
        seen = np.maximum(seen, own)
        if part.worker == NOBODY:
            continue
        call = decode_call(read_call(part.frame), CallShape(LAYERS, 9))
        index = np.arange(rows) if part.row_index is None else part.row_index
        np.testing.assert_array_equal(call.rows, asked.rows[index])
        np.testing.assert_array_equal(call.exponents, asked.exponents[index])
        sent = call.expert_ids >= 0
        np.testing.assert_array_equal(call.expert_ids[sent], own[own >= 0])
        np.testing.assert_array_equal(call.router_weights[sent], asked.router_weights[own >= 0])
        assert (call.layer, call.prefill, part.row_count) == (2, asked.prefill, len(index))
    np.testing.assert_array_equal(seen, asked.expert_ids)


def test_of_a_single_row_only_a_workers_own_slots_travel(codec: Codec) -> None:
    asked = some_rows(1)._replace(expert_ids=np.array([[3, 7, 0, NO_EXPERT]], dtype=np.int32))
    parts = codec.encode(asked, np.array([1] * 4 + [0] * 8, dtype=np.int32), CALL)
    ids = [decode_call(read_call(part.frame), CallShape(LAYERS, 9)).expert_ids.tolist() for part in parts]
    assert ids == [[[7]], [[3, 0]]]


def test_what_no_expert_is_asked_for_is_no_part(codec: Codec) -> None:
    asked = some_rows(3)._replace(expert_ids=np.full((3, 4), NO_EXPERT, dtype=np.int32))
    assert list(codec.encode(asked, owners_of(3), CALL)) == []
    found = codec.add(asked, [])
    assert not found.values.any() and (found.finest == FINEST).all()


def test_an_expert_that_there_is_not_is_an_error(codec: Codec) -> None:
    for wrong in (EXPERTS, 2**31 - 1):
        asked = some_rows(2)._replace(expert_ids=np.full((2, 4), wrong, dtype=np.int32))
        with pytest.raises(IndexError):
            codec.encode(asked, owners_of(3), CALL)


def test_rows_and_slots_need_not_lie_side_by_side(codec: Codec) -> None:
    wide = some_rows(8, 6)
    layer, rows, ids, weights, exponents, prefill = wide
    odd = LayerRows(layer, rows[::2], ids[::2], weights[::2], exponents[::2], prefill)
    packed = LayerRows(
        layer, rows[::2].copy(), ids[::2].copy(), weights[::2].copy(), exponents[::2].copy(), prefill
    )
    assert_same_parts(codec.encode(odd, owners_of(2), CALL), codec.encode(packed, owners_of(2), CALL))
    replies = answers_to(codec.encode(odd, owners_of(2), CALL))
    np.testing.assert_array_equal(codec.add(odd, replies).values, codec.add(packed, replies).values)


def test_sums_are_the_integers_on_the_grid_rounded_once(codec: Codec) -> None:
    asked = some_rows(20)
    replies = answers_to(codec.encode(asked, owners_of(3), CALL))
    units, finest = add_units((20, 9), replies)
    found = codec.add(asked, replies)
    np.testing.assert_array_equal(found.values, np.ldexp(units.astype(np.float32), asked.exponents[:, None]))
    np.testing.assert_array_equal(found.finest, finest)
    coarser = asked.exponents.astype(int) - finest
    assert list(found.unfit) == np.flatnonzero((coarser < 0) | (coarser > 12)).tolist() != []


@pytest.mark.parametrize(("size", "exponent"), [(0.0, FINEST), (1e-30, FINEST), (1.0, -19), (1e30, COARSEST)])
def test_exponents_follow_the_rows(codec: Codec, size: float, exponent: int) -> None:
    rows = np.full((2, 1), size, dtype=np.float32)
    assert codec.choose_exponents(rows, 1.0).tolist() == [exponent] * 2
    for odd in (np.nan, np.inf, -np.inf):
        assert FINEST <= codec.choose_exponents(np.full((1, 3), odd, np.float32), 1.0)[0] <= COARSEST


FAULTS: dict[str, tuple[Callable[[bytes], bytes], type[ClusterError], str]] = {
    "refused": (lambda f: failure_frame(CALL, 3, "bad rows"), CallRejectedError, "bad rows"),
    "busy": (lambda f: failure_frame(CALL, 8, "come later"), WorkerBusyError, "come later"),
    "other call": (lambda f: f[:8] + bytes(8) + f[16:], WorkerFaultError, "call 0 was answered"),
    "cut": (lambda f: f[:-1], WorkerFaultError, "says it has"),
    "short": (lambda f: (len(f) - 5).to_bytes(4, "little") + f[4:-1], WorkerFaultError, "partial_sums has"),
    "empty": (lambda f: b"", WorkerFaultError, "at least 36 bytes, not 0"),
    "damaged": (lambda f: f[:-1] + bytes([f[-1] ^ 1]), WorkerFaultError, "its checksum is wrong"),
    "no times": (lambda f: f[:16] + b"\xff" * 8 + f[24:], WorkerFaultError, "are no times"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_answer_is_its_parts_fault_alone(codec: Codec, fault: str) -> None:
    harm, error, words = FAULTS[fault]
    asked = some_rows(6)
    replies = answers_to(codec.encode(asked, np.arange(EXPERTS, dtype=np.int32) % 3, CALL))
    assert not codec.add(asked, replies).faults
    harmed = [replies[0], replies[1]._replace(frame=harm(replies[1].frame)), replies[2]]
    found = codec.add(asked, harmed)
    assert list(found.faults) == [1] and len(found.times) == 2
    assert type(found.faults[1]) is error and words in str(found.faults[1])


def test_no_bytes_are_taken_for_an_answer_that_they_are_not(codec: Codec) -> None:
    """Whatever comes is a fault, or has the sums that the reference reads."""
    mutator, reference = Mutator(5), NumpyCodec(RowType.FLOAT32)
    asked = some_rows(2, hidden=3)
    (reply,) = answers_to(codec.encode(asked, np.zeros(EXPERTS, dtype=np.int32), CALL), hidden=3)
    for _ in range(scaled(2_000)):
        mutated = [reply._replace(frame=mutator.mutate(reply.frame))]
        found, expected = codec.add(asked, mutated), reference.add(asked, mutated)
        assert found.faults.keys() == expected.faults.keys() and found.times == expected.times
        np.testing.assert_array_equal(found.values, expected.values)


def test_an_answer_has_no_more_than_its_head_before_its_sums() -> None:
    nothing = answer_frame(1, np.zeros((0, 9), np.int32), np.zeros(0, np.int8), queue_ns=0, compute_ns=0)
    assert len(nothing) == ANSWER_HEAD_BYTES


def test_rows_travel_in_the_type_that_was_asked() -> None:
    asked = some_rows(3)
    for row_type in RowType:
        (part,) = NativeCodec(row_type).encode(asked, np.zeros(EXPERTS, dtype=np.int32), CALL)
        call = decode_call(read_call(part.frame), CallShape(LAYERS, 9))
        np.testing.assert_array_equal(call.rows, asked.rows.astype(row_dtype(row_type)))
