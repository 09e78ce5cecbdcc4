"""Kept prompts: equal answers with fewer rows computed, within the memory there is."""

import mlx.core as mx
import numpy as np
import pytest

from jangtq_coordinator.engine.events import Finished, GenerationEvent
from jangtq_coordinator.kv.batch_cache import BatchCache
from jangtq_coordinator.kv.kv_config import KvSettings
from jangtq_coordinator.kv.prefix_cache import PrefixCache
from jangtq_coordinator.kv.storage import KvStorage, plan_kv
from tests.support.running_engine import collect, request, running_engine, stock_tokens, text_of, tokens_of
from tests.support.small_generators import GREEDY, new_generator, run_to_end
from tests.support.tiny_model import KV_SHAPE, ProbedModel

TOKEN_BYTES = KV_SHAPE.token_bytes()
PLAN = plan_kv(KV_SHAPE, budget_bytes=2**30)
LONG = [(3 * i + i * i // 7) % 256 for i in range(700)]


def kv_of(tokens: list[int], *, plan: KvStorage = PLAN, rows: int = 1) -> BatchCache:
    """KV whose numbers tell which token they are of."""
    kv = BatchCache.empty(plan.shape.layer_count, plan.form)
    for place, layer in enumerate(kv.layers):
        layer.lengths = [0] * rows
        values = mx.array(tokens, dtype=mx.float32)[None, None, :, None] + 1000 * place
        layer.update_and_fetch(*[mx.broadcast_to(values, (rows, 2, len(tokens), 16))] * 2)
    return kv


def read(kv: BatchCache, layer: int) -> list[float]:
    keys, _ = kv.layers[layer].update_and_fetch(*[mx.zeros((1, 2, 1, 16))] * 2)
    assert isinstance(keys, mx.array)
    values: list[float] = np.array(keys)[0, 1, :-1, 3].tolist()
    return values


def rows_computed(model: ProbedModel) -> int:
    return sum(rows * length for rows, length in model.passes)


def test_what_is_kept_comes_back() -> None:
    kept = PrefixCache(PLAN.form)
    kept.store(LONG, kv_of(LONG), row=0, room_bytes=2**30)
    assert kept.nbytes == len(LONG) * TOKEN_BYTES
    for wanted in (LONG, LONG[:300], [*LONG[:512], 999], [*LONG, 1, 2, 3]):
        prefix = kept.find(wanted)
        assert prefix.length == min(len(wanted) - 1, 512 if 999 in wanted else 700)
        kv = kept.restore(prefix, spare_bytes=2**30)
        for layer in range(KV_SHAPE.layer_count):
            assert read(kv, layer) == [t + 1000 * layer for t in wanted[: prefix.length]]
    assert kept.nbytes == len(LONG) * TOKEN_BYTES


def test_nothing_is_found_where_nothing_was_kept() -> None:
    assert PrefixCache(PLAN.form).find([1, 2, 3]).length == 0
    off = PrefixCache(PLAN.form, is_on=False)
    off.store(LONG, kv_of(LONG), row=0, room_bytes=2**30)
    assert off.find(LONG).length == 0


def test_the_least_recently_used_goes_first() -> None:
    kept = PrefixCache(PLAN.form)
    prompts = [[n] * 100 for n in range(3)]
    for prompt in prompts:
        kept.store(prompt, kv_of(prompt), row=0, room_bytes=2**30)
    kept.find(prompts[0])
    kept.shrink(250 * TOKEN_BYTES)
    assert [kept.find(prompt).length for prompt in prompts] == [99, 0, 99]
    # Reading made the first the oldest again; storing makes room for itself.
    kept.store([7] * 100, kv_of([7] * 100), row=0, room_bytes=200 * TOKEN_BYTES)
    assert [kept.find(prompt).length for prompt in prompts] == [0, 0, 99]
    assert kept.nbytes == 200 * TOKEN_BYTES


def test_a_prompt_too_large_is_kept_in_part() -> None:
    kept = PrefixCache(PLAN.form)
    kept.store(LONG, kv_of(LONG), row=0, room_bytes=600 * TOKEN_BYTES)
    assert kept.find(LONG).length == 512
    kept.store(LONG, kv_of(LONG), row=0, room_bytes=600 * TOKEN_BYTES)
    assert kept.find(LONG).length == 512


def test_a_prefix_in_use_is_the_last_to_go_and_then_moves() -> None:
    kept = PrefixCache(PLAN.form)
    for prompt in (LONG, [1] * 100):
        kept.store(prompt, kv_of(prompt), row=0, room_bytes=2**30)
    prefix = kept.find(LONG)
    kv = kept.restore(prefix, spare_bytes=700 * TOKEN_BYTES)
    assert kept.find([1] * 100).length == 0 and kept.nbytes == 700 * TOKEN_BYTES
    assert read(kv, 1) == [t + 1000 for t in LONG[:-1]]
    kv = kept.restore(kept.find(LONG), spare_bytes=10)
    assert kept.nbytes == 0 and read(kv, 0) == LONG[:-1]


def test_one_row_of_a_batch_is_kept_alone() -> None:
    kept = PrefixCache(PLAN.form)
    kv = kv_of([5] * 40, rows=3)
    kept.store([5] * 40, kv, row=1, room_bytes=2**30)
    assert kept.nbytes == 40 * TOKEN_BYTES and kv.nbytes > 0


def test_the_next_turn_computes_its_new_tokens_only() -> None:
    """A conversation of 4,000 tokens: counted in rows that go through the model, not in time."""
    model = ProbedModel()
    generator = new_generator(model, plan=PLAN, kept=PrefixCache(PLAN.form), prefill_rows=512)
    first = [(3 * i + i * i // 7) % 256 for i in range(4000)]
    generator.add(first, max_tokens=10, sampler=GREEDY)
    (answer,) = run_to_end(generator).values()
    assert rows_computed(model) == 4000 + 9
    model.passes.clear()
    second = [*first, *(step.token for step in answer), *range(20)]
    generator.add(second, max_tokens=1, sampler=GREEDY)
    run_to_end(generator)
    # The last token of the answer never went through the model.
    assert rows_computed(model) == 1 + 20 and len(model.passes) == 1
    assert generator.counters.cached_tokens == 4009


@pytest.mark.parametrize("shared", [1, 100, 256, 300, 699, 700])
def test_answers_are_the_same_with_and_without(shared: int) -> None:
    generator = new_generator(ProbedModel(), plan=PLAN, kept=PrefixCache(PLAN.form))
    prompts = [LONG, [*LONG[:shared], 9, 8, 7]]
    for prompt in prompts:
        uid = generator.add(prompt, max_tokens=6, sampler=GREEDY)
        assert [step.token for step in run_to_end(generator)[uid]] == stock_tokens(prompt, 6)
    assert generator.counters.cached_tokens == shared


def test_several_answers_to_one_prompt_compute_it_once() -> None:
    model = ProbedModel()
    generator = new_generator(model, plan=PLAN, kept=PrefixCache(PLAN.form), prefill_rows=100)
    uids = [generator.add(LONG[:300], max_tokens=5, sampler=GREEDY) for _ in range(3)]
    generator.prefill()
    assert generator.prefilling == 3
    steps = run_to_end(generator)
    assert [[step.token for step in steps[uid]] for uid in uids] == [stock_tokens(LONG[:300], 5)] * 3
    assert sum(rows * length for rows, length in model.passes if length > 1) == 300
    assert generator.counters.cached_tokens == 2 * 299


def test_an_ended_neighbour_is_kept_out_of_the_middle_of_a_batch() -> None:
    generator = new_generator(ProbedModel(), plan=PLAN, kept=PrefixCache(PLAN.form), prefill_rows=512)
    prompts = [LONG[:n] for n in (30, 50, 40)]
    prompts = [[n, *prompt] for n, prompt in enumerate(prompts)]
    uids = [
        generator.add(p, max_tokens=m, sampler=GREEDY) for p, m in zip(prompts, (40, 12, 40), strict=True)
    ]
    steps = run_to_end(generator)
    for uid, prompt in zip(uids, prompts, strict=True):
        again = [*prompt, *(step.token for step in steps[uid]), 3]
        generator.add(again, max_tokens=2, sampler=GREEDY)
    before = generator.counters.cached_tokens
    later = run_to_end(generator)
    for uid, prompt in zip(uids, prompts, strict=True):
        again = [*prompt, *(step.token for step in steps[uid]), 3]
        assert [step.token for step in later[uid + 3]] == stock_tokens(again, 2)
    assert generator.counters.cached_tokens - before == sum(map(len, prompts)) + 39 + 11 + 39


def cached(events: list[GenerationEvent]) -> int:
    assert isinstance(events[-1], Finished)
    return events[-1].usage.cached_tokens


async def test_usage_tells_what_came_from_the_cache() -> None:
    with running_engine() as (engine, model):
        prompt = tuple(LONG[:200])
        first = await collect(engine.submit(request(prompt)))
        again = await collect(engine.submit(request(prompt)))
        assert (cached(first), cached(again)) == (0, 199)
        assert tokens_of(again) == tokens_of(first)
        assert rows_computed(model) == (200 + 7) + (1 + 7)
        assert engine.load.kept_bytes == (200 + 7) * TOKEN_BYTES


async def test_an_answer_that_a_stop_string_ended_is_kept_too() -> None:
    with running_engine(kv=KvSettings(keep_prompts=False)) as (engine, _):
        whole = text_of(await collect(engine.submit(request(tuple(LONG[:50]), max_tokens=60))))
    with running_engine() as (engine, _):
        stopped = request(tuple(LONG[:50]), max_tokens=60, stops=(whole[10:13],))
        tokens = tokens_of(await collect(engine.submit(stopped)))
        assert len(tokens) < 60
        again = await collect(engine.submit(request((*LONG[:50], *tokens, 1))))
        # The last token of the answer never went through the model.
        assert cached(again) == 50 + len(tokens) - 1


async def test_a_cache_that_is_off_keeps_nothing() -> None:
    with running_engine(kv=KvSettings(keep_prompts=False)) as (engine, _):
        for _ in range(2):
            assert cached(await collect(engine.submit(request(tuple(LONG[:200]))))) == 0
        assert engine.load.kept_bytes == 0


async def test_what_is_kept_gives_way_to_requests() -> None:
    """Memory for two short sequences: what is kept shrinks while they run, and they never wait for it."""
    with running_engine(kv=KvSettings(budget_bytes=2 * 256 * TOKEN_BYTES), prefill_ms=0) as (engine, _):
        for n in range(6):
            prompt = (n, *LONG[:150])
            assert tokens_of(await collect(engine.submit(request(prompt)))) == stock_tokens(prompt, 8)
            load = engine.load
            assert load.active_bytes + load.kept_bytes <= load.budget_bytes
        assert cached(await collect(engine.submit(request((5, *LONG[:150]))))) == 150
        assert cached(await collect(engine.submit(request((0, *LONG[:150]))))) == 0


def test_a_prompt_given_up_in_the_middle_is_kept_as_far_as_it_came() -> None:
    model, kept = ProbedModel(), PrefixCache(PLAN.form)
    generator = new_generator(model, plan=PLAN, kept=kept, prefill_rows=100)
    uid = generator.add(LONG, max_tokens=8, sampler=GREEDY)
    for _ in range(6):
        generator.prefill()
    generator.forget([uid])
    assert kept.nbytes == 512 * TOKEN_BYTES and rows_computed(model) == 600
    generator.add(LONG, max_tokens=8, sampler=GREEDY)
    (steps,) = run_to_end(generator).values()
    assert [step.token for step in steps] == stock_tokens(LONG, 8)
    assert generator.counters.cached_tokens == 512
