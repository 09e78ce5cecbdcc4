"""Long calls cut into slices: which and where, and that bits, errors and times are those of the whole."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jangtq_kernels.backend import NO_EXPERT, ExpertRows, LoadedLayer, PartialSums
from jangtq_proto.wire.codec import LayerCall
from jangtq_worker.device.chunks import (
    SLICE_NS,
    SLICE_ROWS,
    cut,
    put_together,
    slice_end,
    slice_rows,
)
from jangtq_worker.device.shard import Shard, ShardAnswer
from tests.support.kernel_backends import FAST_NAMES, backend
from tests.support.metal_cases import FIRST_EXPERT, random_layer
from tests.worker.device.test_device_queue import until

EXPERTS, HIDDEN, INTERMEDIATE = 5, 96, 64


@cache
def layer_of(name: str) -> LoadedLayer:
    return backend(name).load(random_layer(HIDDEN, INTERMEDIATE, experts=EXPERTS))


def some_call(rows: int, *, seed: int = 0, prefill: bool = False) -> LayerCall:
    random = np.random.default_rng(seed)
    ids = random.integers(-1, EXPERTS, (rows, 3), dtype=np.int32)
    return LayerCall(
        0,
        random.standard_normal((rows, HIDDEN), dtype=np.float32),
        np.where(ids < 0, np.int32(NO_EXPERT), ids + np.int32(FIRST_EXPERT)),
        random.random((rows, 3), dtype=np.float32),
        random.integers(-24, -10, rows, dtype=np.int8),
        prefill=prefill,
    )


def check_same(found: PartialSums, expected: PartialSums) -> None:
    np.testing.assert_array_equal(found.finest, expected.finest)
    np.testing.assert_array_equal(found.sums, expected.sums)


def in_slices(layer: LoadedLayer, call: LayerCall, ends: list[int]) -> PartialSums:
    return put_together([layer.forward(cut(call, first, end)) for first, end in pairwise([0, *ends])])


@pytest.mark.parametrize("name", FAST_NAMES)
@settings(max_examples=20)
@given(st.integers(2, 48), st.sets(st.integers(1, 47), max_size=5), st.integers(0, 99), st.booleans())
def test_any_slices_have_the_bits_of_the_whole(
    name: str, rows: int, cuts: set[int], seed: int, prefill: bool
) -> None:
    call, layer = some_call(rows, seed=seed, prefill=prefill), layer_of(name)
    ends = [*sorted(end for end in cuts if end < rows), rows]
    check_same(in_slices(layer, call, ends), layer.forward(call))


@pytest.mark.parametrize("prefill", [False, True])
def test_any_slices_have_the_bits_of_the_whole_on_metal(prefill: bool) -> None:
    call, layer = some_call(35, prefill=prefill), layer_of("metal")
    check_same(in_slices(layer, call, [1, 18, 35]), layer.forward(call))


@given(st.integers(1, 4096), st.integers(1, 600))
def test_slices_are_of_about_one_size_and_none_is_too_long(rows: int, most: int) -> None:
    ends = [0]
    while ends[-1] < rows:
        ends.append(slice_end(ends[-1], rows, most))
    sizes = [end - first for first, end in pairwise(ends)]
    assert ends[-1] == rows
    assert max(sizes) <= most and max(sizes) - min(sizes) <= 1
    assert len(sizes) == 1 or rows > most


def test_rows_that_take_little_make_longer_slices() -> None:
    assert slice_rows(0) == slice_rows(1_000_000) == slice_rows(SLICE_NS / SLICE_ROWS) == SLICE_ROWS
    assert slice_rows(SLICE_NS / 300) == 300


def test_slices_follow_what_rows_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]
    monkeypatch.setattr("jangtq_worker.device.shard.time.perf_counter_ns", lambda: now[0])
    row_ns = [SLICE_NS // 200]
    layer = Layer(act=lambda: now.append(now.pop() + row_ns[0] * layer.asked[-1]))
    held = Shard((layer,))
    held.forward(some_call(528), lambda: True)
    assert layer.asked == [106, 141, 141, 140]
    layer.asked.clear()
    row_ns[0] = SLICE_NS // 100
    held.forward(some_call(528), lambda: True)
    assert layer.asked == [176, 118, 117, 117]


class Layer:
    """A backend's, that notes how many rows it was asked, and does what a test says."""

    def __init__(self, name: str = "reference", act: Callable[[], object] = lambda: None) -> None:
        self.asked: list[int] = []
        self.nbytes = 0
        self._layer = layer_of(name)
        self._act = act

    def forward(self, asked: ExpertRows) -> PartialSums:
        self.asked.append(len(asked.rows))
        self._act()
        return self._layer.forward(asked)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that take so long that slices are as short as may be, however fast this machine is."""
    monkeypatch.setattr("jangtq_worker.device.chunks.SLICE_NS", 0)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("name", FAST_NAMES)
@pytest.mark.parametrize("prefill", [False, True])
def test_a_shard_cuts_where_there_is_company_and_only_there(name: str, prefill: bool) -> None:
    layer, call = Layer(name), some_call(300, prefill=prefill)
    asked = Shard((layer,))
    whole, in_company = asked.forward(call, lambda: False), asked.forward(call, lambda: True)
    assert layer.asked == [300, 100, 100, 100]
    check_same(in_company.partial_sums, whole.partial_sums)
    layer.asked.clear()
    asked.forward(some_call(SLICE_ROWS), lambda: True)
    assert layer.asked == [SLICE_ROWS]


@pytest.mark.usefixtures("slow")
def test_the_rest_is_whole_once_nobody_else_asks() -> None:
    layer, call = Layer(), some_call(4 * SLICE_ROWS)
    Shard((layer,)).forward(call, lambda: sum(layer.asked) < 2 * SLICE_ROWS)
    assert layer.asked == [SLICE_ROWS, SLICE_ROWS, 2 * SLICE_ROWS]


def spoiled(*changes: tuple[str, int, float], dtype: type[np.floating] = np.float32) -> LayerCall:
    """A long call with values of some rows replaced."""
    call = some_call(2 * SLICE_ROWS + 50)
    call = replace(call, rows=call.rows.astype(dtype))
    for name, row, value in changes:
        getattr(call, name)[row] = value
    return call


@pytest.mark.parametrize(
    "call",
    [
        spoiled(("rows", 150, np.nan)),
        spoiled(("rows", 150, np.inf), dtype=np.float16),
        spoiled(("router_weights", 299, np.inf)),
        spoiled(("exponents", 200, 98)),
        spoiled(("expert_ids", 150, 9)),
        spoiled(("expert_ids", 150, 9), ("expert_ids", 250, 8)),
        spoiled(("expert_ids", 10, 9), ("rows", 250, np.nan)),
        spoiled(("router_weights", 10, 1e37), ("router_weights", 250, 2e37)),
        spoiled(("router_weights", 150, 3e38)),
    ],
    ids=lambda call: "",
)
@pytest.mark.parametrize("name", ["reference", FAST_NAMES[1]])
def test_what_is_wrong_somewhere_is_refused_in_the_words_of_the_whole(name: str, call: LayerCall) -> None:
    layer = Layer(name)
    with pytest.raises(Exception) as of_whole:
        Shard((layer,)).forward(call, lambda: False)
    assert len(layer.asked) == 1
    with pytest.raises(type(of_whole.value)) as of_slices:
        Shard((layer,)).forward(call, lambda: True)
    assert str(of_slices.value) == str(of_whole.value)
    assert layer.asked[1] < layer.asked[-1] == len(call.rows)


def test_a_shard_without_layers_says_so_in_company_too() -> None:
    for has_others in (True, False):
        with pytest.raises(IndexError):
            Shard(()).forward(some_call(300), lambda has_others=has_others: has_others)  # type: ignore[misc]


@pytest.mark.usefixtures("slow")
def test_a_call_is_answered_by_the_layers_that_it_began_with() -> None:
    after = Layer()
    before = Layer(act=lambda: held.hold((after,)))
    held = Shard((before,))
    held.forward(some_call(300), lambda: True)
    assert (before.asked, after.asked) == ([100, 100, 100], [])
    held.forward(some_call(1), lambda: True)
    assert after.asked == [1]


@pytest.mark.usefixtures("slow")
def test_turns_of_others_are_waiting_and_slices_are_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]
    monkeypatch.setattr("jangtq_worker.device.shard.time.perf_counter_ns", lambda: now[0])

    def advance(nanoseconds: int) -> None:
        now[0] += nanoseconds

    def compute_slice() -> None:
        if not shorts:
            shorts.append(pool.submit(held.forward, replace(some_call(1), layer=1), lambda: True))
            until(lambda: held.waiting == 1)
        advance(1000)

    shorts: list[Future[ShardAnswer]] = []
    held = Shard((Layer(act=compute_slice), Layer(act=lambda: advance(70))))
    with ThreadPoolExecutor(1) as pool:
        answer = held.forward(some_call(300), lambda: True)
        assert (answer.compute_ns, answer.queue_ns) == (3000, 70)
        assert shorts[0].result(60)[1:] == (1000, 70)


def test_a_slice_is_a_view() -> None:
    call = some_call(300, prefill=True)
    part = cut(call, 100, 200)
    assert part.prefill and part.layer == call.layer
    assert np.shares_memory(part.rows, call.rows)
