"""The dispatcher: exchanges side by side, other work meanwhile, and no half done call."""

import numpy as np
import pytest
from numpy.typing import NDArray

from jangtq_coordinator.transport.connection import GiveUp, never
from jangtq_proto.errors import ClusterError, WorkerFaultError
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
