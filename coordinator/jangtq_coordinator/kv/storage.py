"""How a model's KV is stored, and how much of it there may be."""

from dataclasses import dataclass
from typing import Final

import mlx.core as mx

from jangtq_coordinator.kv.batch_cache import BatchCache
from jangtq_coordinator.kv.budget import KvBudget, KvShape, default_budget_bytes
from jangtq_coordinator.kv.layer_cache import COLUMN_STEP, KvForm
from jangtq_proto.errors import ConfigurationError

_GROUP_SIZES: Final = (64, 32)


@dataclass(frozen=True)
class KvStorage:
    """One for each loaded model."""

    shape: KvShape
    form: KvForm
    memory: KvBudget

    def new_kv(self) -> BatchCache:
        """For one sequence that has nothing yet."""
        return BatchCache.empty(self.shape.layer_count, self.form)

    @property
    def part_types(self) -> tuple[mx.Dtype, ...]:
        """The types of what keys and values are stored as."""
        own: mx.Dtype = getattr(mx, self.shape.value_type)
        return (own,) if self.form.bits is None else (mx.uint32, own, own)


def plan_kv(
    shape: KvShape, *, budget_bytes: int | None = None, bits: int | None = None, neighbour_bytes: int = 0
) -> KvStorage:
    """Plan with a budget, or with what is free now, as `default_budget_bytes` has it.

    Raises ConfigurationError for what cannot work.
    """
    form = KvForm() if bits is None else KvForm(bits, _group_size(shape.head_size))
    token_bytes = shape.token_bytes(bits=bits, group_size=form.group_size)
    budget = default_budget_bytes(neighbour_bytes=neighbour_bytes) if budget_bytes is None else budget_bytes
    memory = KvBudget(budget, token_bytes)
    if memory.longest < COLUMN_STEP:
        raise ConfigurationError(
            f"{budget / 2**30:.3f} GiB of memory for KV: at least {COLUMN_STEP} tokens must fit, "
            f"which take {COLUMN_STEP * token_bytes / 2**30:.3f} GiB (--kv-memory)"
        )
    return KvStorage(shape, form, memory)


def _group_size(head_size: int) -> int:
    for size in _GROUP_SIZES:
        if head_size % size == 0:
            return size
    raise ConfigurationError(
        f"--kv-bits: the model's heads have {head_size} numbers, which do not divide into groups of "
        f"{' or '.join(map(str, _GROUP_SIZES))}"
    )
