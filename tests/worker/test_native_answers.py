"""Calls answered without the interpreter: the bits that Python answers, and nothing that Python refuses."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jangtq_kernels.backend import native_layer
from jangtq_kernels.combined import CombinedLayer, Piece
from jangtq_kernels.cpu import CpuBackend
from jangtq_kernels.cpu_library import Status
from jangtq_kernels.reference import ReferenceBackend
from jangtq_proto.errors import CallRejectedError, ClusterError, WorkerBusyError
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.wire.codec import CallShape, LayerCall, WireCall, answer_checksum, row_dtype
from jangtq_proto.wire.frames import call_frame, read_call
from jangtq_proto.wire.row_type import RowType
from jangtq_worker.device.admission import Admission
from jangtq_worker.device.shard import Shard
from tests.support.metal_cases import FIRST_EXPERT, random_layer
from tests.support.mutations import Mutator, scaled
from tests.support.native_calls import (
    EXPERTS,
    HIDDEN,
    LAYERS,
    MOST_ROWS,
    SHAPE,
    answer_natively,
    message_of,
    real_admission,
    some_call,
)
from tests.support.native_layers import ScriptedNativeLayer, scripted_admission


def ask_natively(admission: Admission, message: WireCall) -> bytes | None:
    """What there is of an answer, or None."""
    found = answer_natively(admission.native, message)
    if found is None:
        return None
    assert found.queue_ns >= 0 and found.compute_ns >= 0
    assert found.checksum == answer_checksum(message.call_id, found.sums.data, found.finest.data)
    return found.sums.tobytes() + found.finest.tobytes()


def ask_python(admission: Admission, message: WireCall) -> bytes | None:
    """The same, None where it is refused."""
    try:
        found = admission.compute(message).partial_sums
    except ClusterError:
        return None
    return found.sums.tobytes() + found.finest.tobytes()


@given(
    st.integers(1, MOST_ROWS),
    st.integers(1, 32),
    st.integers(0, LAYERS - 1),
    st.sampled_from(RowType),
    st.integers(0, 99),
)
def test_the_answer_is_that_of_python_to_the_bit(
    rows: int, slots: int, layer: int, row_type: RowType, seed: int
) -> None:
    message = message_of(some_call(rows, slots=slots, layer=layer, seed=seed), row_type)
    found = ask_natively(real_admission(), message)
    assert found is not None
    assert found == ask_python(real_admission(), message)


@pytest.mark.parametrize("row_type", RowType)
def test_whatever_is_damaged_python_says_the_same_or_is_asked(row_type: RowType) -> None:
    mutator = Mutator(11)
    answered = refused = 0
    frames = [b"".join(map(bytes, call_frame(9, some_call(n, seed=n), row_type))) for n in (1, 3)]
    for index in range(scaled(2_000)):
        try:
            call = read_call(memoryview(mutator.mutate(frames[index % 2])))
        except CallRejectedError:
            continue
        found, expected = ask_natively(real_admission(), call), ask_python(real_admission(), call)
        assert found is None or found == expected
        # Nothing is left to Python without a reason.
        assert expected is None or found is not None
        answered, refused = answered + (found is not None), refused + (found is None)
    assert answered > 100 and refused > 100


def with_values(call: LayerCall, **values: float) -> pb.ExpertCall:
    """The last value of an array replaced."""
    for name, value in values.items():
        getattr(call, name).flat[-1] = value
    return message_of(call)


@pytest.mark.parametrize(
    "odd",
    [
        {"rows": np.nan},
        {"rows": -np.inf},
        {"router_weights": np.inf},
        {"router_weights": np.nan, "expert_ids": -1},
        {"exponents": -127},
        {"exponents": 98},
        {"expert_ids": -2},
        {"expert_ids": 2**31 - 1},
        {"expert_ids": FIRST_EXPERT - 1},
    ],
)
def test_odd_values_are_left_to_python_which_refuses_them(odd: dict[str, float]) -> None:
    message = with_values(some_call(2), **odd)
    assert ask_natively(real_admission(), message) is None
    with pytest.raises(CallRejectedError):
        real_admission().compute(message)


@pytest.mark.parametrize("exponent", [-126, 97])
def test_the_last_grids_are_ordinary(exponent: int) -> None:
    message = with_values(some_call(2), exponents=exponent)
    assert ask_natively(real_admission(), message) == ask_python(real_admission(), message) is not None


def test_long_calls_are_left_to_python() -> None:
    message = message_of(some_call(MOST_ROWS + 1))
    assert ask_natively(real_admission(), message) is None
    assert ask_python(real_admission(), message) is not None


@pytest.mark.parametrize("row_type", [RowType.FLOAT16, RowType.BFLOAT16])
def test_every_finite_value_of_two_bytes_widens_as_numpy_widens_it(row_type: RowType) -> None:
    admission = scripted_admission(ScriptedNativeLayer(HIDDEN))
    every = np.arange(1 << 16, dtype=np.uint16).reshape(-1, HIDDEN)
    for one in every:
        rows = one.view(row_dtype(row_type))[None]
        message = message_of(replace(some_call(), rows=rows), row_type)
        widened = rows.astype(np.float32)
        expected = widened.tobytes() + message.exponents if np.isfinite(widened).all() else None
        assert ask_natively(admission, message) == expected


def test_what_a_layer_refuses_is_left_to_python() -> None:
    layer = ScriptedNativeLayer(HIDDEN)
    admission = scripted_admission(layer)
    for status in Status:
        layer.status = status
        assert (ask_natively(admission, message_of(some_call())) is None) == (status is not Status.OK)


def test_only_layers_of_the_cpu_backend_are_asked_natively() -> None:
    weights = random_layer(HIDDEN, 32, experts=EXPERTS)
    on_cpu, reference = CpuBackend(1).load(weights), ReferenceBackend().load(weights)
    combined = CombinedLayer([Piece(weights.expert_ids, on_cpu)])
    assert native_layer(on_cpu) is not None
    assert native_layer(reference) is native_layer(combined) is None
    admission = Admission(SHAPE, max_streams=2)
    assert ask_natively(admission, message_of(some_call())) is None
    admission.serve(Shard((reference, on_cpu, combined)))
    answered = [ask_natively(admission, message_of(some_call(layer=n))) is not None for n in range(LAYERS)]
    assert answered == [False, True, False]


def test_layers_of_another_width_are_not_asked_natively() -> None:
    admission = Admission(CallShape(1, HIDDEN), max_streams=2)
    admission.serve(Shard((ScriptedNativeLayer(HIDDEN + 1),)))
    assert ask_natively(admission, message_of(some_call())) is None


def test_nothing_is_answered_natively_while_python_computes_or_waits() -> None:
    found: list[bytes | None] = []
    layer = ScriptedNativeLayer(HIDDEN)
    admission = scripted_admission(layer)
    layer.act = lambda: found.append(ask_natively(admission, message_of(some_call())))
    assert ask_python(admission, message_of(some_call())) is not None
    assert found == [None]
    layer.act = lambda: None
    assert ask_natively(admission, message_of(some_call())) is not None


def test_one_native_forward_at_a_time() -> None:
    found: list[bytes | None] = []
    layer = ScriptedNativeLayer(HIDDEN)
    admission = scripted_admission(layer)
    with ThreadPoolExecutor(1) as other:
        layer.act = lambda: found.append(
            other.submit(ask_natively, admission, message_of(some_call())).result()
        )
        assert ask_natively(admission, message_of(some_call())) is not None
    assert found == [None]


def test_calls_at_once_count_those_that_compute_natively() -> None:
    layer = ScriptedNativeLayer(HIDDEN)
    admission = scripted_admission(layer, max_calls=1)

    def ask_another() -> None:
        with ThreadPoolExecutor(1) as other, pytest.raises(WorkerBusyError, match="already serves 1 calls"):
            other.submit(admission.compute, message_of(some_call())).result()

    layer.act = ask_another
    assert ask_natively(admission, message_of(some_call())) is not None
    layer.act = lambda: None
    assert ask_python(admission, message_of(some_call())) is not None


def test_layers_are_swapped_when_the_native_forward_of_those_before_ended() -> None:
    before, after = ScriptedNativeLayer(HIDDEN), ScriptedNativeLayer(HIDDEN)
    admission = scripted_admission(before)
    with ThreadPoolExecutor(1) as other:

        def swap() -> None:
            swaps.append(other.submit(admission.hold, (after,)))
            with pytest.raises(TimeoutError):
                swaps[0].result(0.2)

        swaps: list[Future[None]] = []
        before.act = swap
        assert ask_natively(admission, message_of(some_call())) is not None
    assert (before.native_calls, after.native_calls) == (1, 0)
    assert ask_natively(admission, message_of(some_call())) is not None
    assert (before.native_calls, after.native_calls) == (1, 1)


def test_a_desk_that_drains_takes_nothing_more() -> None:
    admission = scripted_admission(ScriptedNativeLayer(HIDDEN))
    assert ask_natively(admission, message_of(some_call())) is not None
    assert admission.drain(1.0)
    assert ask_natively(admission, message_of(some_call())) is None
