"""The KV cache of rows that grow on their own, against NumPy and against mlx-lm's own cache."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jangtq_coordinator.kv.batch_cache import BatchCache
from jangtq_coordinator.kv.layer_cache import COLUMN_STEP, KvForm, LayerCache
from tests.support.running_engine import stock_tokens
from tests.support.small_generators import PROMPTS
from tests.support.tiny_model import KV_SHAPE, make_model

HEADS, SIZE = 2, 32
PLAIN = KvForm()
Row = NDArray[np.float32]


def numbers(rows: int, tokens: int, seed: int) -> mx.array:
    return mx.random.normal((rows, HEADS, tokens, SIZE), key=mx.random.key(seed))


def append(cache: LayerCache, rows: list[Row], *, tokens: int, seed: int) -> list[Row]:
    """Add to the cache and to what it should hold; checks what attention is given."""
    keys = numbers(len(rows), tokens, seed)
    mask = cache.make_mask(tokens)
    fetched, values = cache.update_and_fetch(keys, -keys)
    assert isinstance(fetched, mx.array) and isinstance(values, mx.array)
    grown = [np.concatenate([row, np.array(keys[i])], axis=1) for i, row in enumerate(rows)]
    for i, row in enumerate(grown):
        np.testing.assert_array_equal(np.array(fetched[i])[:, : row.shape[1]], row)
        np.testing.assert_array_equal(np.array(values[i])[:, : row.shape[1]], -row)
        if isinstance(mask, mx.array):
            seen = np.array(mask)[i, 0]
            assert list(seen.sum(axis=1)) == [row.shape[1] - tokens + 1 + t for t in range(tokens)]
            assert all(seen[t, : seen[t].sum()].all() for t in range(tokens))
        else:
            assert mask == ("causal" if tokens > 1 else None) and row.shape[1] == fetched.shape[2]
    return grown


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("acjk"), st.integers(0, 2**16)), max_size=12))
def test_rows_hold_what_was_added_and_not_cut(steps: list[tuple[str, int]]) -> None:
    cache = LayerCache(PLAIN)
    rows = append(cache, [np.zeros((HEADS, 0, SIZE), np.float32)], tokens=3, seed=0)
    for step, seed in steps:
        if step == "a":
            rows = append(cache, rows, tokens=(1, 4, 300)[seed % 3], seed=seed)
        elif step == "c":
            rows = [row[:, : max(1, row.shape[1] - (seed + i) % 5)] for i, row in enumerate(rows)]
            cache.cut([row.shape[1] for row in rows])
        elif step == "j":
            other = LayerCache(PLAIN)
            rows += append(other, [np.zeros((HEADS, 0, SIZE), np.float32)], tokens=1 + seed % 400, seed=seed)
            cache.join(other)
        else:
            kept = [i for i in range(len(rows)) if seed >> i & 1] or [len(rows) - 1]
            rows = [rows[i] for i in kept]
            cache.keep(kept)
        assert cache.lengths == [row.shape[1] for row in rows]
        assert cache.columns % COLUMN_STEP == 0
    append(cache, rows, tokens=1, seed=1)


def test_pieces_put_together_are_the_row() -> None:
    cache = LayerCache(PLAIN, rows=2)
    rows = append(cache, [np.zeros((HEADS, 0, SIZE), np.float32)] * 2, tokens=300, seed=4)
    pieces = [cache.piece(1, start=start, stop=stop) for start, stop in ((0, 256), (256, 290))]
    again = LayerCache.of(PLAIN, pieces)
    assert again.lengths == [290] and again.columns == 2 * COLUMN_STEP
    append(again, [rows[1][:, :290]], tokens=5, seed=5)


def test_a_piece_keeps_nothing_else_alive() -> None:
    cache = LayerCache(PLAIN, rows=4)
    before = mx.get_active_memory()
    cache.update_and_fetch(numbers(4, 4096, 1), numbers(4, 4096, 2))
    cache.evaluate()
    batch = BatchCache([cache])
    assert mx.get_active_memory() - before >= cache.nbytes
    (piece,) = batch.pieces(0, [(0, 16)])
    del cache, batch
    assert mx.get_active_memory() - before <= 2 * piece[0].nbytes


def test_copies_that_take_everything_leave_nothing() -> None:
    layers = [LayerCache(PLAIN), LayerCache(PLAIN)]
    for layer in layers:
        layer.update_and_fetch(numbers(1, 10, 1), numbers(1, 10, 2))
    batch = BatchCache(layers)
    (piece,) = batch.pieces(0, [(2, 10)], last=True)
    np.testing.assert_array_equal(np.array(piece[1].keys[0]), np.array(numbers(1, 10, 1))[:, :, 2:])
    assert batch.nbytes == 0


@pytest.mark.parametrize("bits", [8, 4])
def test_quantized_rows_hold_what_quantizing_gives(bits: int) -> None:
    form = KvForm(bits, 32)
    cache, plain = LayerCache(form), LayerCache(PLAIN)
    for tokens, seed in ((5, 1), (300, 2), (1, 3)):
        keys = numbers(1, tokens, seed)
        fetched, _ = cache.update_and_fetch(keys, keys)
        exact, _ = plain.update_and_fetch(keys, keys)
        assert isinstance(fetched, tuple) and isinstance(exact, mx.array)
        packed, scales, biases = fetched
        back = mx.dequantize(packed, scales, biases, group_size=32, bits=bits)
        assert mx.abs(back - exact).max().item() < 8 / 2**bits
    assert cache.nbytes * (3 if bits == 8 else 5) < 4 * plain.nbytes * 1.01
    assert form.bits == cache.bits


def test_a_stock_model_computes_the_same_over_these_rows() -> None:
    """mlx-lm's attention asks for offset, make_mask and update_and_fetch; a new release may ask for more."""
    model = make_model()
    batch: BatchCache | None = None
    tokens: list[list[int]] = []
    for prompt in PROMPTS[1:4]:
        kv = BatchCache.empty(KV_SHAPE.layer_count, PLAIN)
        logits = model(mx.array([prompt]), cache=kv.layers)
        tokens.append([int(mx.argmax(logits[0, -1]))])
        if batch is None:
            batch = kv
        else:
            batch.join(kv)
    assert batch is not None
    for _ in range(7):
        logits = model(mx.array([[row[-1]] for row in tokens]), cache=batch.layers)
        for row, token in zip(tokens, np.array(mx.argmax(logits[:, -1], axis=-1)), strict=True):
            row.append(int(token))
    assert tokens == [stock_tokens(prompt, 8) for prompt in PROMPTS[1:4]]
