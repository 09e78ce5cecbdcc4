"""KV in 8 or 4 bits: less memory, nearly the same numbers, and the same in a batch as alone."""

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from jangtq_coordinator.kv.budget import KvShape
from jangtq_coordinator.kv.prefix_cache import PrefixCache
from jangtq_coordinator.kv.storage import KvStorage, plan_kv
from tests.support.small_generators import GREEDY, PROMPTS, new_generator, run_to_end
from tests.support.tiny_model import ProbedModel

SHAPE = KvShape(layer_count=2, head_count=2, head_size=32)
TEXT = [(3 * i + i * i // 7) % 256 for i in range(300)]


def plan_for(bits: int | None, *, budget_bytes: int = 2**30) -> KvStorage:
    return plan_kv(SHAPE, budget_bytes=budget_bytes, bits=bits)


def log_probabilities(bits: int | None) -> NDArray[np.float32]:
    """Of every next token of a text that is read in chunks, float32 [tokens, vocabulary]."""
    model, kv = ProbedModel(head_size=32), plan_for(bits).new_kv()
    chunks = [TEXT[:100], TEXT[100:250], *([token] for token in TEXT[250:])]
    logits = [model(mx.array([chunk]), cache=list(kv.layers))[0] for chunk in chunks]
    whole = mx.concatenate(logits)
    return np.array(whole - mx.logsumexp(whole, axis=-1, keepdims=True))


@pytest.mark.parametrize(("bits", "divergence", "agreeing"), [(8, 5e-5, 0.98), (4, 5e-3, 0.75)])
def test_predictions_stay_close_to_those_of_exact_kv(bits: int, divergence: float, agreeing: float) -> None:
    """Mean Kullback-Leibler divergence over all positions, in nats. The weights are random: a trained model
    is surer of its tokens."""
    exact, quantized = log_probabilities(None), log_probabilities(bits)
    measured = (np.exp(exact) * (exact - quantized)).sum(axis=-1).mean()
    assert 0 < measured < divergence
    assert (exact.argmax(-1) == quantized.argmax(-1)).mean() > agreeing


@pytest.mark.parametrize("bits", [8, 4])
def test_a_batch_gives_what_each_sequence_gives_alone(bits: int) -> None:
    def answers(batch_size: int) -> list[list[int]]:
        generator = new_generator(ProbedModel(head_size=32), plan=plan_for(bits), batch_size=batch_size)
        limits = (30, 5, 17, 24, 9)
        for prompt, limit in zip(PROMPTS, limits, strict=True):
            generator.add(prompt, max_tokens=limit, sampler=GREEDY)
        steps = run_to_end(generator)
        return [[step.token for step in steps[uid]] for uid in range(len(PROMPTS))]

    assert answers(1) == answers(5)


@pytest.mark.parametrize("bits", [8, 4])
def test_kept_prompts_stay_quantized_and_give_the_same_answers(bits: int) -> None:
    plan = plan_for(bits)
    kept = PrefixCache(plan.form)
    generator = new_generator(ProbedModel(head_size=32), plan=plan, kept=kept, prefill_rows=400)
    tokens = []
    for _ in range(2):
        uid = generator.add(TEXT, max_tokens=8, sampler=GREEDY)
        tokens.append([step.token for step in run_to_end(generator)[uid]])
    assert tokens[0] == tokens[1] and generator.counters.cached_tokens == 299
    assert kept.nbytes == 307 * SHAPE.token_bytes(bits=bits, group_size=32)


def test_the_budget_counts_the_smaller_bytes() -> None:
    budget = 4 * 256 * SHAPE.token_bytes()
    lengths = {bits: plan_for(bits, budget_bytes=budget).memory.longest for bits in (None, 8, 4)}
    assert lengths == {None: 1024, 8: 3072, 4: 5376}
    generator = new_generator(ProbedModel(head_size=32), plan=plan_for(8, budget_bytes=budget))
    for prompt in [*PROMPTS, *PROMPTS]:
        generator.add(prompt, max_tokens=100, sampler=GREEDY)
    for _ in range(8):
        generator.prefill()
    assert generator.prefilling + generator.decoding == 8
