"""Connections without a network whose experts multiply rows, and random rows for them."""

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.transport.connection import GiveUp, never
from jangtq_proto.errors import WorkerFaultError
from jangtq_proto.wire.codec import LayerCall
from tests.support.connection_answers import LayerAnswer, answer_on_grid

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
