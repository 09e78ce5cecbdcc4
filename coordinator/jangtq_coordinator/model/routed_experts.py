"""The bridge between MLX arrays of one layer and the dispatcher's bytes. Knows no attention."""

import time
from dataclasses import dataclass
from typing import Final

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.dispatch.dispatcher import AnyExchange, Dispatcher
from jangtq_coordinator.model.packed_rows import pack, unpack
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.wire.row_type import RowType

FLOAT16_MAX: Final = float(np.finfo(np.float16).max)
MLX_DTYPE: Final = {
    RowType.FLOAT32: mx.float32,
    RowType.FLOAT16: mx.float16,
    RowType.BFLOAT16: mx.bfloat16,
}


@dataclass(frozen=True)
class StartedRows:
    """An exchange, and the rows for which its sums will stand."""

    exchange: AnyExchange
    x: mx.array
    layer: int


class RoutedExperts:
    """One evaluation a layer. Several exchanges may be open."""

    def __init__(self, dispatcher: Dispatcher, row_type: RowType) -> None:
        self._dispatcher = dispatcher
        self._row_type = row_type
        self._turned_ns = time.perf_counter_ns()

    @property
    def waited_ns(self) -> int:
        """Nanoseconds since the start in which there was nothing to do but wait for workers."""
        return self._dispatcher.waited_ns

    def start_pass(self) -> int:
        """Called where a forward pass begins, so that time between passes counts for no layer; the time."""
        self._turned_ns = time.perf_counter_ns()
        return self._turned_ns

    def begin(self, layer: int, x: mx.array, *, picked: mx.array, router_weights: mx.array) -> StartedRows:
        """x: [..., hidden]; picked, router_weights: [..., experts a token]."""
        rows = x.reshape(-1, x.shape[-1]).astype(MLX_DTYPE[self._row_type])
        ids = picked.reshape(-1, picked.shape[-1]).astype(mx.int32)
        weights = router_weights.reshape(ids.shape).astype(mx.float32)
        return self.begin_packed(layer, x, pack(rows, ids, weights), slots=ids.shape[-1])

    def begin_packed(self, layer: int, x: mx.array, packed: mx.array, *, slots: int) -> StartedRows:
        """The same of what `packed_rows.pack` made of the rows x and their experts."""
        mx.eval(packed)
        hidden = x.shape[-1]
        sent = unpack(packed, x.size // hidden, hidden, slots, row_type=self._row_type)
        exchange = self._dispatcher.begin(
            layer,
            sent.rows,
            expert_ids=sent.expert_ids,
            router_weights=sent.router_weights,
            began_ns=self._turned_ns,
        )
        self._turned_ns = time.perf_counter_ns()
        return StartedRows(exchange, x, layer)

    def finish(self, started: StartedRows) -> mx.array:
        """The sums in the rows' shape and dtype. Raises ConfigurationError where that is too narrow."""
        sums = self._dispatcher.finish(started.exchange)
        self._turned_ns = time.perf_counter_ns()
        if started.x.dtype == mx.float16:
            _check_range(sums, started.layer)
        return mx.array(sums).reshape(started.x.shape).astype(started.x.dtype)

    def abandon(self) -> None:
        """Abandon all open exchanges."""
        self._dispatcher.abandon()


def _check_range(sums: NDArray[np.float32], layer: int) -> None:
    largest = float(np.abs(sums).max(initial=0))
    if largest > FLOAT16_MAX:
        raise ConfigurationError(
            f"layer {layer}: the experts' sums reach {largest:.3g}, and float16 ends at {FLOAT16_MAX:,.0f}: "
            "start the coordinator with --wire-dtype bfloat16, or float32"
        )
