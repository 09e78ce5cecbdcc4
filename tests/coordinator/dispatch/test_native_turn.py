"""The two native calls of an exchange: what they send, and what they say of it."""

import socket

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.dispatch.codec import NOBODY, LayerRows
from jangtq_coordinator.dispatch.native_turn import TAKEN, NativeTurn
from jangtq_coordinator.dispatch.numpy_codec import NumpyCodec
from jangtq_proto.sockets.frame_socket import FrameSocket
from jangtq_proto.sockets.inbox import Inbox
from jangtq_proto.wire.frames import answer_frame
from jangtq_proto.wire.row_type import RowType

IDS = np.array([[0, 2], [1, 0]], dtype=np.int32)
SHARES = np.array([[0.5, 0.25], [1, 0.125]], dtype=np.float32)


def ask(turn: NativeTurn, owners: list[int], inboxes: list[Inbox | None], hidden: int = 6) -> LayerRows:
    """Two rows of layer 3, by call 9; the rows with their grids."""
    rows = np.random.default_rng(0).standard_normal((2, hidden)).astype(np.float32)
    turn.ask(
        3,
        rows,
        expert_ids=IDS,
        router_weights=SHARES,
        factor=0.5,
        owners=np.array(owners, dtype=np.int32),
        inboxes=inboxes,
        call_id=9,
    )
    return LayerRows(3, rows, IDS, SHARES, turn.exponents(), prefill=False)


def answer(asked: LayerRows, rows: int, value: int) -> tuple[bytes, NDArray[np.int32]]:
    sums = np.full((rows, asked.rows.shape[1]), value, dtype=np.int32)
    return answer_frame(9, sums, asked.exponents[:rows], queue_ns=1, compute_ns=2), sums


def test_calls_without_an_inbox_are_those_of_the_reference() -> None:
    turn, reference = NativeTurn(RowType.FLOAT32), NumpyCodec(RowType.FLOAT32)
    for hidden in (6, 40_000):  # the second needs more memory than there is at first
        asked = ask(turn, [0, 1, 1], [None, None], hidden)
        np.testing.assert_array_equal(asked.exponents, reference.choose_exponents(asked.rows, 0.5))
        parts = reference.encode(asked, np.array([0, 1, 1], dtype=np.int32), 9)
        assert [frame for *_, frame in turn.frames([None, None])] == [part.frame for part in parts]
        assert turn.facts.is_whole and turn.facts.carried == 2


def test_answers_of_both_kinds_are_added() -> None:
    ours, theirs = socket.socketpair()
    frames = FrameSocket(ours)
    turn = NativeTurn(RowType.FLOAT32)
    asked = ask(turn, [0, 1, 1], [None, frames.plain_inbox()])
    ((position, worker, _),) = turn.frames([None, frames.plain_inbox()])
    assert (position, worker, turn.facts.carried) == (0, 0, 1)
    theirs.sendall(answer(asked, 2, 5)[0])
    turn.give(0, answer(asked, 2, 7)[0])
    assert turn.take() == TAKEN
    np.testing.assert_array_equal(turn.sums(), np.ldexp(np.full((2, 6), 12.0), asked.exponents[:, None]))
    assert turn.facts.received_ns > 0 and frames.plain_inbox().state.filled == 0  # type: ignore[union-attr]
    frames.close()
    theirs.close()


def test_experts_without_a_worker_make_it_less_than_whole() -> None:
    turn = NativeTurn(RowType.FLOAT32)
    asked = ask(turn, [0, NOBODY, 0], [None])
    assert not turn.facts.is_whole
    assert [share.worker for share in turn.shares()] == [0, NOBODY]
    part = turn.part(asked, turn.shares()[1], 9)
    assert part.frame == b"" and part.row_index is not None and part.row_index.tolist() == [1]
