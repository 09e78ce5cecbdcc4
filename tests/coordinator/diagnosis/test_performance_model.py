"""The performance model is what its page says, to the last figure."""

import re

import pytest

from jangtq_coordinator.diagnosis.performance_model import (
    TWO_M4_MAX,
    Expectation,
    LayerCosts,
    budget_us,
    memory_us,
)
from tests.support.paths import ROOT


def test_the_page_states_what_the_model_computes() -> None:
    page = (ROOT / "docs/performance-model.md").read_text()
    stated = re.findall(r"^\| (.+?) \| (\d+) \| ([\d.]+) \|$", page, re.MULTILINE)
    computed = [
        (name, f"{times.layer:.0f}", f"{Expectation(times).tokens_per_second:.1f}")
        for name, times in TWO_M4_MAX.items()
    ]
    assert stated == computed
    assert f"leaves {budget_us(44, device_us=220):.0f} us" in page
    assert "No figure on this page was measured on a Mac." in page


def test_every_part_counts_in_full() -> None:
    parts = LayerCosts(attention=1, experts=2, crossings=4, exchange=8, host=16)
    assert parts.layer == 31
    assert Expectation(parts, layers=10, outside_us=90).token_us == 400
    assert Expectation(parts, layers=10, outside_us=90).tokens_per_second == 2500


def test_reading_takes_bytes_over_bandwidth() -> None:
    assert memory_us(546_000_000, gigabytes_per_second=546) == 1000
    assert memory_us(546_000_000, gigabytes_per_second=546, share=0.5) == 2000
    with pytest.raises(ValueError, match="0 GB/s"):
        memory_us(1, gigabytes_per_second=0)
