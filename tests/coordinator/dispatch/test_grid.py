"""Grids of rows: answers that do not fit are asked for again on a grid that fits."""

import numpy as np
import pytest

from jangtq_coordinator.transport.connection import GiveUp, never
from jangtq_proto.errors import WorkerFaultError
from tests.support.connection_answers import LayerAnswer
from tests.support.fixed_cluster import fixed_dispatcher
from tests.support.scaling_connections import FakeConnection, some_rows


@pytest.mark.parametrize(
    ("scale", "second_asks"), [(0.0, 0), (1e-38, 0), (1e-20, 1), (1.0, 0), (1e20, 1), (1e35, 0)]
)
def test_rows_whose_grid_does_not_suit_their_answers_are_asked_for_again(
    scale: float, second_asks: int
) -> None:
    x, ids, weights = some_rows(4, 2, experts=4)
    x[1] *= np.float32(scale)
    connections = [FakeConnection(), FakeConnection()]
    dispatcher = fixed_dispatcher([0, 1, 0, 1], connections)
    sums = dispatcher.forward(0, x, expert_ids=ids, router_weights=weights)
    again = [call for connection in connections for call in connection.calls[1:]]
    assert dispatcher.counters.second_asks == second_asks
    assert all(call.rows.tolist() == [x[1].tolist()] for call in again)
    expected = x * (np.float32(1.2) ** (ids + 1) * weights).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(sums, expected, rtol=1e-3, atol=1e-38)


def test_a_worker_that_never_answers_alike_is_a_fault() -> None:
    class LouderConnection(FakeConnection):
        def receive(self, call_id: int, give_up: GiveUp = never) -> LayerAnswer:
            return super().receive(call_id)._replace(finest=self.calls[-1].exponents + np.int8(1))

    x, ids, weights = some_rows(1, 2, experts=2)
    dispatcher = fixed_dispatcher([0, 0], [LouderConnection()])
    with pytest.raises(WorkerFaultError, match="layer 0: answers change whenever they are asked for"):
        dispatcher.forward(0, x, expert_ids=ids, router_weights=weights)
