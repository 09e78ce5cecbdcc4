"""The dispatcher: exchanges side by side, other work meanwhile, and no half done call."""

import numpy as np
import pytest

from jangtq_proto.errors import ClusterError
from tests.support.fixed_cluster import fixed_dispatcher
from tests.support.scaling_connections import FakeConnection, some_rows


def test_a_failing_worker_leaves_no_half_done_call() -> None:
    x, ids, weights = some_rows(2, 4, experts=4)
    connections = [FakeConnection(), FakeConnection(fails=True)]
    dispatcher = fixed_dispatcher([0, 1, 0, 1], connections)
    with pytest.raises(ClusterError, match="broken"):
        dispatcher.forward(0, x, expert_ids=ids, router_weights=weights)
    assert [connection.abandoned for connection in connections] == [1, 1]


def test_exchanges_under_way_together_do_not_mix() -> None:
    first, second = some_rows(3, 4, experts=8), some_rows(2, 4, experts=8)
    dispatcher = fixed_dispatcher([0, 1] * 4, [FakeConnection(), FakeConnection()], layers=2)
    alone = [
        dispatcher.forward(layer, x, expert_ids=ids, router_weights=weights)
        for layer, (x, ids, weights) in enumerate((first, second))
    ]
    exchanges = [
        dispatcher.begin(layer, x, expert_ids=ids, router_weights=weights)
        for layer, (x, ids, weights) in enumerate((first, second))
    ]
    for expected, exchange in zip(alone, exchanges, strict=True):
        np.testing.assert_array_equal(dispatcher.finish(exchange), expected)


def test_other_work_is_done_while_the_workers_compute() -> None:
    x, ids, weights = some_rows(1, 2, experts=2)
    seen: list[int] = []
    connection = FakeConnection()
    fixed_dispatcher([0, 0], [connection]).forward(
        0, x, expert_ids=ids, router_weights=weights, meanwhile=lambda: seen.append(len(connection.calls))
    )
    assert seen == [1]
