"""The plan of a forward: every pair of row and expert once, cut into tiles."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jangtq_kernels.backend import NO_EXPERT
from jangtq_kernels.metal._tile import TILE_ROWS
from jangtq_kernels.metal.routing import cut_tiles, plan_pairs

positions = st.integers(1, 80).flatmap(
    lambda rows: st.lists(
        st.lists(st.sampled_from([NO_EXPERT, 0, 1, 5]), min_size=3, max_size=3), min_size=rows, max_size=rows
    )
)


@given(positions)
def test_the_plan_holds_every_used_slot_once(slots: list[list[int]]) -> None:
    places = np.array(slots, dtype=np.int32)
    weights = np.arange(places.size, dtype=np.float32).reshape(places.shape)
    plan = plan_pairs(places, weights)
    for row in range(len(slots)):
        own = slice(plan.row_starts[row], plan.row_starts[row + 1])
        pairs = plan.slot_pairs[own]
        assert plan.pair_rows[pairs].tolist() == [row] * len(pairs)
        assert plan.pair_experts[pairs].tolist() == [place for place in slots[row] if place != NO_EXPERT]
        assert plan.slot_weights[own].tolist() == weights[row][places[row] != NO_EXPERT].tolist()
    assert sorted(plan.slot_pairs.tolist()) == list(range(plan.pairs))


@given(positions)
def test_the_tiles_cut_the_sorted_pairs(slots: list[list[int]]) -> None:
    plan = plan_pairs(np.array(slots, dtype=np.int32), np.zeros((len(slots), 3), dtype=np.float32))
    covered = 0
    for expert, first, count in cut_tiles(plan, TILE_ROWS).tolist():
        assert first == covered
        assert 1 <= count <= TILE_ROWS
        assert set(plan.pair_experts[first : first + count].tolist()) == {expert}
        covered += count
    assert covered == plan.pairs
