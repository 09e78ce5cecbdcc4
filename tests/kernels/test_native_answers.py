"""Calls that native code answers have the bits that the layer gives Python, and all others are left to it."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from jangtq_kernels.backend import LoadedLayer
from jangtq_kernels.cpu import CpuBackend
from jangtq_kernels.cpu_library import Status
from jangtq_kernels.native_answers import NativeAnswers, open_native_answers
from jangtq_kernels.reference import ReferenceBackend
from jangtq_proto.wire.codec import LayerCall, row_dtype
from jangtq_proto.wire.frames import OK, answer_frame, call_frame, decode_answer, read_answer
from jangtq_proto.wire.row_type import RowType
from tests.support.metal_cases import FIRST_EXPERT, random_layer
from tests.support.mutations import Mutator, scaled
from tests.support.native_layers import ScriptedNativeLayer

HIDDEN, EXPERTS, LAYERS = 64, 4, 3


@cache
def layers() -> tuple[LoadedLayer, ...]:
    backend = CpuBackend(2)
    return tuple(
        backend.load(random_layer(HIDDEN, 32 + 8 * layer, experts=EXPERTS)) for layer in range(LAYERS)
    )


@cache
def native() -> NativeAnswers:
    found = open_native_answers(layers())
    assert found is not None, "the library was compiled"
    return found


def some_call(rows: int = 1, *, slots: int = 4, layer: int = 0, seed: int = 0) -> LayerCall:
    random = np.random.default_rng(seed)
    ids = random.integers(-1, EXPERTS, (rows, slots), dtype=np.int32)
    return LayerCall(
        layer,
        random.standard_normal((rows, HIDDEN)).astype(np.float32),
        np.where(ids < 0, np.int32(-1), ids + np.int32(FIRST_EXPERT)),
        random.random((rows, slots), dtype=np.float32),
        random.integers(-24, -10, rows, dtype=np.int8),
        prefill=bool(seed % 2),
    )


@pytest.mark.parametrize("row_type", list(RowType))
@pytest.mark.parametrize("rows", [1, 3, 64, 65, 300])
def test_answers_are_the_layers_to_the_bit(rows: int, row_type: RowType) -> None:
    for layer in range(LAYERS):
        call = some_call(rows, layer=layer, seed=rows + layer)
        frame = native().answer(call_frame(9, call, row_type))
        assert frame is not None
        answer = read_answer(frame)
        sums, finest = decode_answer(answer, (rows, HIDDEN))
        expected = layers()[layer].forward(replace(call, rows=call.rows.astype(row_dtype(row_type))))
        np.testing.assert_array_equal(sums, expected.sums)
        np.testing.assert_array_equal(finest, expected.finest)
        assert (answer.call_id, answer.queue_ns) == (9, 0) and answer.compute_ns > 0
        alike = answer_frame(9, sums, finest, queue_ns=0, compute_ns=answer.compute_ns)
        assert frame == alike, "to the byte as Python writes it"


BAD: dict[str, Callable[[LayerCall], LayerCall]] = {
    "no such layer": lambda call: replace(call, layer=LAYERS),
    "no rows": lambda call: replace(call, rows=call.rows[:0], exponents=call.exponents[:0]),
    "narrow rows": lambda call: replace(call, rows=call.rows[:, :-1]),
    "too many slots": lambda call: some_call(2, slots=33),
    "missing exponents": lambda call: replace(call, exponents=call.exponents[:1]),
    "exponent too fine": lambda call: replace(call, exponents=np.array([-127, 0], np.int8)),
    "exponent too coarse": lambda call: replace(call, exponents=np.array([98, 0], np.int8)),
    "not finite rows": lambda call: replace(call, rows=np.full_like(call.rows, np.nan)),
    "not finite weights": lambda call: replace(call, router_weights=np.full((2, 4), np.inf, np.float32)),
    "foreign expert": lambda call: replace(call, expert_ids=np.full((2, 4), 10_000, np.int32)),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_is_wrong_is_left_to_python(bad: str) -> None:
    call = some_call(2)
    assert native().answer(call_frame(9, call, RowType.FLOAT32)) is not None
    assert native().answer(call_frame(9, BAD[bad](call), RowType.FLOAT32)) is None


def test_frames_that_are_cut_or_longer_than_they_say_are_left_to_python() -> None:
    frame = call_frame(9, some_call(2), RowType.FLOAT32)
    for wrong in (b"", frame[:47], frame[:-1], frame + b"x", frame[:4]):
        assert native().answer(wrong) is None


def test_layers_that_only_python_can_ask_are_left_to_it() -> None:
    weights = random_layer(HIDDEN, 32, experts=EXPERTS)
    reference = ReferenceBackend().load(weights)
    assert open_native_answers([reference]) is None
    odd = ScriptedNativeLayer(HIDDEN + 1)
    mixed = open_native_answers([layers()[0], reference, odd])
    assert mixed is not None
    answered = [mixed.answer(call_frame(9, some_call(layer=n), RowType.FLOAT32)) for n in range(3)]
    assert [answer is not None for answer in answered] == [True, False, False]
    assert odd.native_calls == 0


def test_a_forward_that_fails_is_left_to_python() -> None:
    layer = ScriptedNativeLayer(HIDDEN)
    found = open_native_answers([layer])
    assert found is not None
    for status in Status:
        layer.status = status
        answer = found.answer(call_frame(9, some_call(), RowType.FLOAT32))
        assert (answer is not None) == (status is Status.OK)


def test_mutated_calls_are_answered_or_left() -> None:
    mutator, taken = Mutator(4), 0
    frames = [call_frame(9, some_call(rows), kind) for rows in (1, 2) for kind in RowType]
    for index in range(scaled(5_000)):
        answer = native().answer(mutator.mutate(frames[index % len(frames)]))
        if answer is not None:
            taken += 1
            assert read_answer(answer).status == OK
    assert taken > 100
