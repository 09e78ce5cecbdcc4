"""What a pass over more tokens costs, by what passes did cost."""

import pytest

from jangtq_coordinator.engine.pass_cost import PassCost


def test_a_pass_costs_what_passes_did() -> None:
    cost = PassCost()
    assert cost.seconds(5) == 0
    cost.record(2, 0.5)
    assert cost.seconds(9) == pytest.approx(0.5)
    for rows in (1, 2, 9, 4) * 10:
        cost.record(rows, 0.3 + 0.01 * rows)
    assert cost.seconds(20) == pytest.approx(0.5, rel=0.05)
    for rows in (1, 9) * 60:
        cost.record(rows, 0.1)
    assert cost.seconds(20) == pytest.approx(0.1, rel=0.05)
