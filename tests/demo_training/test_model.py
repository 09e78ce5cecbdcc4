"""The PyTorch model computes what mlx-lm's MiniMax computes, with and without a cache."""

import mlx.core as mx
import numpy as np
import pytest
import torch
from mlx_lm.models import minimax

from jangtq_demo.batches import pack
from jangtq_demo.examples import Example
from jangtq_demo.experts import multiply_groups, multiply_padded
from jangtq_demo.generate import generate
from jangtq_demo.model import DemoModel
from jangtq_demo.settings import TINY

# More threads only wait for each other beside other tests' processes.
torch.set_num_threads(1)


@pytest.fixture
def model() -> DemoModel:
    torch.manual_seed(3)
    made = DemoModel(TINY)
    with torch.no_grad():
        for block in made.moe_blocks:
            block.e_score_correction_bias.normal_(std=0.2)
        for parameter in made.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
    return made.eval()


def as_mlx(model: DemoModel) -> minimax.Model:
    config = {**TINY.config(begin_of_text=0, end_of_turn=1), "model_type": "minimax"}
    twin = minimax.Model(minimax.ModelArgs.from_dict(config))
    twin.load_weights([(name, mx.array(value.numpy())) for name, value in model.state_dict().items()])
    return twin


def test_logits_equal_those_of_mlx_lm(model: DemoModel) -> None:
    rng = np.random.default_rng(0)
    lengths = (9, 14)
    examples = [Example.of_line(rng.integers(TINY.vocab_size, size=n)) for n in lengths]
    batch = pack([examples], 32)
    with torch.inference_mode():
        logits = model.lm_head(model(batch.tokens, batch.view))[0].numpy()
    twin = as_mlx(model)
    start = 0
    for example in examples:
        end = start + len(example.tokens)
        expected = np.array(twin(mx.array(example.tokens)[None]))[0]
        np.testing.assert_allclose(logits[start:end], expected, rtol=1e-4, atol=1e-4)
        start = end


def test_answers_do_not_depend_on_the_other_prompts(model: DemoModel) -> None:
    rng = np.random.default_rng(1)
    prompts = [rng.integers(TINY.vocab_size, size=n).tolist() for n in (3, 11, 7)]
    together = generate(model, prompts, stop=5, most_tokens=12)
    alone = [generate(model, [prompt], stop=5, most_tokens=12)[0] for prompt in prompts]
    assert together == alone
    assert any(together)


def test_answers_are_the_likeliest_tokens_of_mlx_lm(model: DemoModel) -> None:
    prompt = [17, 4, 99, 230]
    twin = as_mlx(model)
    expected: list[int] = []
    for _ in range(8):
        logits = twin(mx.array(prompt + expected)[None])[0, -1]
        expected.append(int(mx.argmax(logits)))
    assert generate(model, [prompt], stop=-1, most_tokens=8) == [expected]


def test_padded_groups_multiply_as_grouped_ones() -> None:
    torch.manual_seed(5)
    ends = torch.tensor([3, 3, 10, 11], dtype=torch.int32)
    rows, weight = torch.randn(11, 8), torch.randn(4, 6, 8)
    torch.testing.assert_close(multiply_padded(rows, weight, ends), multiply_groups(rows, weight, ends))
