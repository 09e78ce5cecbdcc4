"""Frames answered without the interpreter: damaged or in pieces, they end as they do in Python."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jangtq_kernels.cpu import CpuBackend
from jangtq_proto.wire.codec import CallShape
from jangtq_proto.wire.row_type import RowType
from jangtq_worker.device.admission import Admission
from jangtq_worker.device.shard import Shard
from tests.support.express_sessions import HIDDEN, conversing, frame_of, plain_call, with_length
from tests.support.metal_cases import random_layer
from tests.support.mutations import Mutator, scaled


@pytest.fixture(scope="module")
def real_admissions() -> tuple[Admission, Admission]:
    """Of the same experts, with native answers and without."""
    layers = (CpuBackend(2).load(random_layer(HIDDEN, 16)),)
    with_native = Admission(CallShape(1, HIDDEN), max_streams=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jangtq_worker.native_admission.answer_library", lambda: None)
        without = Admission(CallShape(1, HIDDEN), max_streams=16)
    assert with_native.native is not None and without.native is None
    for admission in (with_native, without):
        admission.serve(Shard(layers))
    return with_native, without


def hear_all(admission: Admission, words: bytes) -> tuple[list[tuple[int, int, bytes, int]], str]:
    """Every answer to these words, and how the conversation ended."""
    with conversing(admission) as caller:
        caller.say(words)
        caller.hang_up()
        heard = caller.hear_all()
        caller.wait()
        return heard, repr(caller.error)


def real_frame(*, rows: int = 1, row_type: RowType = RowType.FLOAT32) -> bytes:
    call = plain_call(rows=rows)
    call.expert_ids[:] = 100
    return frame_of(call, row_type=row_type)


@pytest.mark.parametrize("row_type", RowType)
def test_every_damaged_byte_has_the_outcome_that_it_has_in_python(
    real_admissions: tuple[Admission, Admission], row_type: RowType
) -> None:
    good = real_frame(row_type=row_type)
    for at in range(len(good)):
        for flip in (0x01, 0x80):
            words = good + good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :] + good
            assert hear_all(real_admissions[0], words) == hear_all(real_admissions[1], words)


def test_damaged_frames_have_the_outcome_that_they_have_in_python(
    real_admissions: tuple[Admission, Admission],
) -> None:
    mutator = Mutator(12)
    for _ in range(scaled(100)):
        frames = [real_frame(rows=mutator.random.choice((1, 2, 5))) for _ in range(3)]
        damaged = mutator.mutate(frames[1])
        if mutator.random.random() < 0.8 and len(damaged) >= 4:
            damaged = with_length(damaged)
        words = frames[0] + damaged + frames[2]
        assert hear_all(real_admissions[0], words) == hear_all(real_admissions[1], words)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 70), st.sampled_from(RowType)), max_size=6), st.data())
def test_frames_may_come_in_any_pieces(
    real_admissions: tuple[Admission, Admission], asked: list[tuple[int, RowType]], data: st.DataObject
) -> None:
    words = b"".join(real_frame(rows=rows, row_type=row_type) for rows, row_type in asked)
    cuts = data.draw(st.lists(st.integers(0, len(words)), max_size=8).map(sorted))
    with conversing(real_admissions[0]) as caller, ThreadPoolExecutor(1) as speaker:

        def speak() -> None:
            for start, end in zip([0, *cuts], [*cuts, len(words)], strict=True):
                caller.say(words[start:end])
            caller.hang_up()

        spoken = speaker.submit(speak)
        heard = caller.hear_all()
        spoken.result()
    assert (heard, "None") == hear_all(real_admissions[1], words)
    assert len(heard) == len(asked)
