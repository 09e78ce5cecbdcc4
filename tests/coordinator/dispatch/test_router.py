"""Splitting a layer among workers and adding up what they answer, over connections without a network."""

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from jangtq_coordinator.dispatch.grid import SLACK_BITS
from jangtq_coordinator.transport.connection import GiveUp, never
from jangtq_proto.errors import WorkerFaultError
from jangtq_proto.wire.codec import LayerCall
from tests.support.connection_answers import LayerAnswer, answer_on_grid
from tests.support.fixed_cluster import fixed_dispatcher

HIDDEN = 4


class FakeConnection:
    """Expert `e` multiplies a row by `loudness ** (e + 1)`."""

    def __init__(self, *, fails: bool = False, loudness: float = 1.2) -> None:
        self.fails = fails
        self.loudness = loudness
        self.calls: list[LayerCall] = []
        self.abandoned = 0

    def send(self, call: LayerCall) -> int:
        self.calls.append(call)
        return len(self.calls)

    def receive(self, call_id: int, give_up: GiveUp = never) -> LayerAnswer:
        if self.fails:
            raise WorkerFaultError("broken")
        call = self.calls[call_id - 1]
        used = np.where(call.expert_ids >= 0, call.router_weights, np.float32(0))
        factors = np.float32(self.loudness) ** (call.expert_ids + 1).astype(np.float32) * used
        return answer_on_grid(
            call, factors[..., None] * call.rows.astype(np.float32)[:, None], compute_ns=1000
        )

    def abandon(self) -> None:
        self.abandoned += 1

    def close(self) -> None:
        pass


def some_rows(
    rows: int, slots: int, experts: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    random = np.random.default_rng(rows * 100 + slots)
    ids = np.stack([random.permutation(experts)[:slots] for _ in range(rows)]).astype(np.int32)
    return (
        random.standard_normal((rows, HIDDEN)).astype(np.float32),
        ids,
        random.random((rows, slots), dtype=np.float32),
    )


@given(
    rows=st.integers(1, 6),
    slots=st.integers(1, 8),
    owner=st.lists(st.integers(0, 3), min_size=16, max_size=16),
    loudness=st.sampled_from([1.2, 0.1, 0.8, 8.0]),
)
def test_any_split_gives_the_same_sum_to_the_bit(
    rows: int, slots: int, owner: list[int], loudness: float
) -> None:
    x, ids, weights = some_rows(rows, slots, experts=16)
    found = []
    for owners in (owner, [0] * 16):
        connections = [FakeConnection(loudness=loudness) for _ in range(4)]
        dispatcher = fixed_dispatcher(owners, connections)
        sums = dispatcher.forward(0, x, expert_ids=ids, router_weights=weights)
        found.append((sums.tobytes(), dispatcher.counters.second_asks))
    assert found[0] == found[1]
    answers = x[:, None] * (np.float64(np.float32(loudness)) ** (ids + 1) * weights)[..., None]
    largest = np.abs(answers).max(axis=(1, 2))[:, None]
    assert (np.abs(sums - answers.sum(axis=1)) <= slots * largest * 2.0 ** (SLACK_BITS - 26)).all()


def test_only_the_rows_that_a_worker_needs_travel() -> None:
    x, _, weights = some_rows(3, 2, experts=4)
    ids = np.array([[0, 1], [2, 3], [0, 2]], dtype=np.int32)
    connections = [FakeConnection(), FakeConnection()]
    fixed_dispatcher([0, 0, 1, 1], connections).forward(0, x, expert_ids=ids, router_weights=weights)
    np.testing.assert_array_equal(connections[0].calls[0].rows, x[[0, 2]])
    np.testing.assert_array_equal(connections[0].calls[0].expert_ids, [[0, 1], [0, -1]])
    np.testing.assert_array_equal(connections[1].calls[0].rows, x[[1, 2]])


def test_a_worker_without_a_picked_expert_is_not_asked() -> None:
    x, _, weights = some_rows(1, 2, experts=3)
    connections = [FakeConnection(), FakeConnection()]
    ids = np.array([[0, 1]], dtype=np.int32)
    fixed_dispatcher([1, 1, 0], connections).forward(0, x, expert_ids=ids, router_weights=weights)
    assert [len(connection.calls) for connection in connections] == [0, 1]


def test_every_exchange_is_timed() -> None:
    x, ids, weights = some_rows(2, 4, experts=4)
    dispatcher = fixed_dispatcher([0, 1, 0, 1], [FakeConnection(), FakeConnection()], layers=2)
    began = time.perf_counter_ns()
    dispatcher.forward(1, x, expert_ids=ids, router_weights=weights, began_ns=began)
    (exchange,) = dispatcher.timeline.copy().exchanges
    assert (exchange.layer, exchange.rows, exchange.began, exchange.compute) == (1, 2, began, 1000)
    stamps = [exchange.started, exchange.sent, exchange.waited, exchange.read, exchange.ended]
    assert stamps == sorted(stamps)
    assert dispatcher.waited_ns == exchange.read - exchange.waited
    (split,) = dispatcher.times.splits()
    assert (split.layer, split.experts_ms) == (1, 0.001)


def test_recording_can_be_left_out_to_measure_its_cost() -> None:
    x, ids, weights = some_rows(2, 4, experts=4)
    dispatcher = fixed_dispatcher([0, 1, 0, 1], [FakeConnection(), FakeConnection()])
    dispatcher.records = False
    dispatcher.forward(0, x, expert_ids=ids, router_weights=weights)
    assert dispatcher.timeline.copy().exchanges == () == dispatcher.times.splits()
