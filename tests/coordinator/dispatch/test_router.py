"""Splitting a layer among workers and adding up what they answer, over connections without a network."""

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jangtq_coordinator.dispatch.grid import SLACK_BITS
from tests.support.fixed_cluster import fixed_dispatcher
from tests.support.scaling_connections import FakeConnection, some_rows


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
