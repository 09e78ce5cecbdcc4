"""How many bytes the KV cache takes, and how many it may. Pure; knows no arrays."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import mlx.core as mx
import psutil

from jangtq_coordinator.kv.layer_cache import COLUMN_STEP
from jangtq_proto.wire.row_type import RowType

_SHARE_OF_FREE: Final = 0.75
_GROUP_VALUES: Final = 2
"""The scale and the bias of a quantized group, which are the model's own numbers."""
_VALUE_BYTES: Final = {RowType.FLOAT32: 4, RowType.FLOAT16: 2, RowType.BFLOAT16: 2}


@dataclass(frozen=True)
class KvShape:
    """The sizes that decide what one token costs; `value_type` is what the model itself computes in."""

    layer_count: int
    head_count: int
    head_size: int
    value_type: RowType = RowType.FLOAT32

    def token_bytes(self, *, bits: int | None = None, group_size: int = 64) -> int:
        """Keys and values of one token in all layers, as they come or quantized to `bits`."""
        numbers = 2 * self.layer_count * self.head_count * self.head_size
        value_bytes = _VALUE_BYTES[self.value_type]
        if bits is None:
            return numbers * value_bytes
        return numbers * bits // 8 + numbers // group_size * _GROUP_VALUES * value_bytes


@dataclass(frozen=True)
class KvBudget:
    """A budget for active sequences and the prefix cache, which gives way first."""

    budget_bytes: int
    token_bytes: int

    @property
    def longest(self) -> int:
        """The most tokens that one sequence may have: alone, it fits."""
        return self.budget_bytes // self.token_bytes // COLUMN_STEP * COLUMN_STEP

    def active_bytes(self, lengths: Collection[int]) -> int:
        """What sequences of these lengths take together: every row is as long as the longest one."""
        columns = -(-max(lengths, default=0) // COLUMN_STEP) * COLUMN_STEP
        return len(lengths) * columns * self.token_bytes

    def spare_bytes(self, lengths: Collection[int]) -> int:
        """What such sequences leave for kept prompts; negative when they do not fit themselves."""
        return self.budget_bytes - self.active_bytes(lengths)


def default_budget_bytes(*, neighbour_bytes: int = 0) -> int:
    """Three quarters of the memory that is free now, which is to say after the model was loaded.

    On Metal that is what its recommended working set has left, elsewhere what the system calls available.
    neighbour_bytes: of weights that workers on this machine hold on its GPU, out of the same working set.
    """
    available = psutil.virtual_memory().available
    if mx.metal.is_available():
        recommended = int(mx.device_info()["max_recommended_working_set_size"])
        available = min(available, recommended - mx.get_active_memory() - neighbour_bytes)
    return max(int(available * _SHARE_OF_FREE), 0)
