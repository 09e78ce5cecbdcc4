"""Bytes of KV: what models take a token, what batches take, and what a budget allows."""

from types import SimpleNamespace

import mlx.core as mx
import psutil
import pytest

from jangtq_coordinator.kv.budget import KvBudget, KvShape, default_budget_bytes
from jangtq_coordinator.kv.storage import plan_kv
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.wire.row_type import RowType

MINIMAX_M2 = KvShape(layer_count=62, head_count=8, head_size=128, value_type=RowType.FLOAT16)


def test_minimax_takes_248_kib_a_token() -> None:
    assert MINIMAX_M2.token_bytes() == 248 * 1024
    # 8 bits, and 16 bits each of scale and bias for 64 numbers.
    assert MINIMAX_M2.token_bytes(bits=8) == 248 * 1024 * (8 + 0.5) / 16
    assert MINIMAX_M2.token_bytes(bits=4) == 248 * 1024 * (4 + 0.5) / 16


def test_a_batch_is_as_wide_as_its_longest_sequence() -> None:
    memory = KvBudget(budget_bytes=10_000_000, token_bytes=1000)
    assert memory.active_bytes([]) == 0
    assert memory.active_bytes([1]) == 256_000
    assert memory.active_bytes([2000, 10, 10]) == 3 * 2048 * 1000
    assert memory.spare_bytes([2000, 10, 10]) == 10_000_000 - 3 * 2048 * 1000
    assert memory.longest == 9984 and memory.spare_bytes([memory.longest]) >= 0


def test_on_metal_experts_of_a_worker_beside_us_are_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    limit, own, beside = 48 * 2**30, 4 * 2**30, 28 * 2**30
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx, "device_info", lambda: {"max_recommended_working_set_size": limit})
    monkeypatch.setattr(mx, "get_active_memory", lambda: own)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=60 * 2**30))
    assert default_budget_bytes() == (limit - own) * 3 // 4
    assert default_budget_bytes(neighbour_bytes=beside) == (limit - own - beside) * 3 // 4
    assert default_budget_bytes(neighbour_bytes=limit) == 0


def test_without_a_budget_there_is_what_is_free() -> None:
    assert 0 < default_budget_bytes() < 2**50
    assert plan_kv(MINIMAX_M2, bits=4).form.group_size == 64
    assert plan_kv(KvShape(2, 2, 32), bits=8).form.group_size == 32


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        (MINIMAX_M2, {"budget_bytes": 1000}, "256 tokens must fit.*0.061 GiB"),
        (KvShape(2, 2, 48), {"bits": 8}, "48 numbers.*64 or 32"),
    ],
)
def test_plans_that_cannot_work(shape: KvShape, options: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        plan_kv(shape, **options)
