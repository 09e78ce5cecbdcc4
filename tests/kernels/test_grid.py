"""Sums without a placement: any split of a row's experts over workers adds up to the same bits."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jangtq_kernels.backend import NO_EXPERT, LoadedLayer, PartialSums
from jangtq_kernels.grid import (
    ANSWER_BITS,
    COARSEST,
    FINEST,
    SLOTS,
    finest_exponents,
    grid_scales,
    magnitudes_of,
    to_grid,
)
from jangtq_kernels.weights import ExpertWeights, PackedMatrix
from tests.support.kernel_backends import CPU_NAMES, FAST_NAMES, INT8_NAMES, Asked, backend
from tests.support.metal_cases import FIRST_EXPERT, random_layer

EXPERTS, HIDDEN, INTERMEDIATE = 6, 96, 64
HOLDERS = 4


@cache
def whole_layer(bits: int) -> ExpertWeights:
    return random_layer(HIDDEN, INTERMEDIATE, experts=EXPERTS, bits=(bits, bits))


def _take(matrix: PackedMatrix, positions: list[int]) -> PackedMatrix:
    return replace(matrix, codes=matrix.codes[positions], norms=matrix.norms[positions])


@cache
def worker_of(name: str, bits: int, positions: tuple[int, ...]) -> LoadedLayer:
    """A shard with some of the experts."""
    layer, kept = whole_layer(bits), list(positions)
    return backend(name).load(
        ExpertWeights(
            tuple(FIRST_EXPERT + position for position in positions),
            gate=_take(layer.gate, kept),
            up=_take(layer.up, kept),
            down=_take(layer.down, kept),
        )
    )


def add(parts: list[PartialSums]) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    sums: NDArray[np.int32] = np.stack([part.sums for part in parts]).sum(axis=0, dtype=np.int32)
    finest: NDArray[np.int8] = np.max([part.finest for part in parts], axis=0)
    return sums, finest


def some_rows(rows: int, slots: int, seed: int) -> Asked:
    """Rows of very different sizes, each with experts named once, twice or not at all."""
    random = np.random.default_rng(seed)
    sizes = np.float32(2.0) ** random.integers(-8, 8, (rows, 1)).astype(np.float32)
    ids = random.integers(-1, EXPERTS, (rows, slots), dtype=np.int32)
    return Asked(
        rows=sizes * random.standard_normal((rows, HIDDEN), dtype=np.float32),
        expert_ids=np.where(ids < 0, NO_EXPERT, ids + FIRST_EXPERT).astype(np.int32),
        router_weights=random.random((rows, slots), dtype=np.float32),
        exponents=random.integers(-30, -10, rows, dtype=np.int8),
        prefill=bool(seed % 2),
    )


def ask_split(name: str, bits: int, asked: Asked, owner: NDArray[np.int64]) -> list[PartialSums]:
    """Each worker gets only the rows and slots that are its own, by `owner` of each expert and row."""
    parts = []
    for number in range(HOLDERS):
        positions = tuple(np.flatnonzero((owner == number).any(axis=0)).tolist())
        if not positions:
            continue
        place = np.where(asked.expert_ids == NO_EXPERT, 0, asked.expert_ids - FIRST_EXPERT)
        mine = (asked.expert_ids != NO_EXPERT) & (np.take_along_axis(owner, place, axis=1) == number)
        index = np.flatnonzero(mine.any(axis=1))
        if not index.size:
            continue
        ids = np.where(mine, asked.expert_ids, np.int32(NO_EXPERT))[index]
        part = worker_of(name, bits, positions).forward(
            replace(
                asked,
                rows=asked.rows[index],
                expert_ids=ids,
                router_weights=asked.router_weights[index],
                exponents=asked.exponents[index],
            )
        )
        sums = np.zeros(asked.rows.shape, dtype=np.int32)
        finest = np.full(len(sums), FINEST, dtype=np.int8)
        sums[index], finest[index] = part.sums, part.finest
        parts.append(PartialSums(sums, finest))
    return parts


def check_split(name: str, bits: int, asked: Asked, owner: NDArray[np.int64]) -> None:
    whole = worker_of(name, bits, tuple(range(EXPERTS))).forward(asked)
    parts = ask_split(name, bits, asked, owner)
    if not parts:
        assert not whole.sums.any()
        return
    sums, finest = add(parts)
    np.testing.assert_array_equal(finest, whole.finest)
    fits = asked.exponents >= finest
    np.testing.assert_array_equal(sums[fits], whole.sums[fits])
    if not fits.all():
        check_split(name, bits, replace(asked, exponents=np.maximum(asked.exponents, finest)), owner)


@pytest.mark.parametrize("name", FAST_NAMES)
@given(
    seed=st.integers(0, 9999),
    rows=st.integers(1, 24),
    slots=st.integers(1, 6),
    bits=st.sampled_from((2, 3, 4)),
    same_for_all_rows=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_any_split_adds_up_to_the_same_bits(
    name: str, seed: int, rows: int, slots: int, bits: int, same_for_all_rows: bool
) -> None:
    """Uneven workers, none at all for some, and several for one expert, of whom each row asks one."""
    random = np.random.default_rng(seed)
    owner = random.integers(0, random.integers(1, HOLDERS + 1), (rows, EXPERTS))
    if same_for_all_rows:
        owner[:] = owner[0]
    check_split(name, bits, some_rows(rows, slots, seed), owner)


@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("prefill", [False, True])
def test_any_split_adds_up_to_the_same_bits_on_metal(rows: int, prefill: bool) -> None:
    owner = np.random.default_rng(rows).integers(0, 3, (rows, EXPERTS))
    check_split("metal", 2, replace(some_rows(rows, 4, rows), prefill=prefill), owner)


@pytest.mark.parametrize("names", [CPU_NAMES, INT8_NAMES], ids=["float32", "int8"])
@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_all_instruction_sets_give_the_same_bits(names: tuple[str, ...], rows: int, bits: int) -> None:
    asked = some_rows(rows, 4, seed=rows)
    first, *others = (worker_of(name, bits, tuple(range(EXPERTS))).forward(asked) for name in names)
    for other in others:
        np.testing.assert_array_equal(other.sums, first.sums)
        np.testing.assert_array_equal(other.finest, first.finest)


EVERY_FLOAT = st.integers(0, 2**32 - 1)


@given(bits=st.lists(EVERY_FLOAT, min_size=1, max_size=SLOTS), coarser=st.integers(0, 5))
def test_answers_on_their_finest_grid_and_coarser_ones_never_leave_int32(
    bits: list[int], coarser: int
) -> None:
    answers = np.array(bits, dtype=np.uint32).view(np.float32)[:, None]
    answers = answers[np.isfinite(answers) & (np.abs(answers) < 2.0 ** (COARSEST + ANSWER_BITS))][:, None]
    if not answers.size:
        return
    exponent = int(finest_exponents(magnitudes_of(answers)).max())
    exponents = np.full(len(answers), min(exponent + coarser, COARSEST), dtype=np.int8)
    on_grid = to_grid(answers, grid_scales(exponents)).astype(object)
    assert np.abs(on_grid).max() <= 2**ANSWER_BITS - 4
    assert SLOTS * (2**ANSWER_BITS - 4) < 2**31
    unit = 2.0 ** int(exponents[0])
    for answer, steps in zip(answers[:, 0].tolist(), on_grid[:, 0].tolist(), strict=True):
        assert abs(answer - steps * unit) <= unit / 2


@pytest.mark.parametrize("name", FAST_NAMES)
@pytest.mark.parametrize("size", [1e-38, 1e-20, 1.0, 1e20, 1e28])
def test_answers_fill_their_finest_grid_and_no_finer_one(name: str, size: float) -> None:
    """The largest answer takes the 26th bit, of which a grid twice as fine would need a 27th."""
    layer = worker_of(name, 2, tuple(range(EXPERTS)))
    asked = replace(some_rows(3, 4, seed=3), router_weights=np.full((3, 4), size, dtype=np.float32))
    asked = replace(asked, exponents=layer.forward(asked).finest)
    largest = np.zeros(3)
    for slot in range(4):
        answer = layer.forward(
            replace(
                asked,
                expert_ids=asked.expert_ids[:, slot : slot + 1],
                router_weights=asked.router_weights[:, slot : slot + 1],
            )
        )
        largest = np.maximum(largest, np.abs(answer.sums).max(axis=1))
    assert (largest <= 2**ANSWER_BITS - 4).all()
    assert (largest >= 2 ** (ANSWER_BITS - 1))[asked.exponents > FINEST].all()


@pytest.mark.parametrize("name", (*FAST_NAMES, "metal"))
@pytest.mark.parametrize("weight", [1e38, -1e38])
def test_answers_too_large_for_any_grid_are_refused(name: str, weight: float) -> None:
    layer = worker_of(name, 2, tuple(range(EXPERTS)))
    asked = replace(some_rows(2, 2, seed=5), expert_ids=np.full((2, 2), FIRST_EXPERT, dtype=np.int32))
    with pytest.raises(OverflowError, match="an answer"):
        layer.forward(replace(asked, router_weights=np.full((2, 2), weight, dtype=np.float32)))
    assert layer.forward(asked).finest.shape == (2,)
