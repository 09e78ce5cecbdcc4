"""A talk learnt as a line with branches gives every round the logits that it has alone."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from jangtq_demo.batches import pack
from jangtq_demo.corpus.conversation import Conversation, render
from jangtq_demo.corpus.split import Split
from jangtq_demo.corpus.talks import make_mixed_talk, make_training
from jangtq_demo.examples import UNTRAINED, Example, encode_example
from jangtq_demo.model import DemoModel
from jangtq_demo.settings import TINY
from jangtq_demo.tokenizer import train_tokenizer

# More threads only wait for each other beside other tests' processes.
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(0, vocabulary_size=TINY.vocab_size, sample=500)


def make_talk(*, tools: bool, thinking: bool = True) -> Conversation:
    talk = make_mixed_talk(random.Random(3), Split.TRAINING, rounds=4, tools=tools)
    return replace(talk.conversation, thinking=thinking)


def compute_logits(model: DemoModel, example: Example) -> torch.Tensor:
    batch = pack([[example]], len(example.tokens))
    with torch.inference_mode():
        logits: torch.Tensor = model.lm_head(model(batch.tokens, batch.view))
    return logits[0]


def encode_alone(tokenizer: Tokenizer, conversation: Conversation) -> Example:
    """The conversation as the template writes it, with the trained tokens of its last round as targets."""
    tokens: list[int] = []
    trained: list[bool] = []
    for segment in render(conversation):
        ids = tokenizer.encode(segment.text, add_special_tokens=False).ids
        tokens += ids
        trained += [segment.trained] * len(ids)
    targets = np.where(trained, tokens, UNTRAINED)[1:]
    return replace(Example.of_line(np.array(tokens[:-1])), targets=targets)


@pytest.mark.parametrize(("tools", "thinking"), [(False, True), (True, True), (True, False)])
def test_every_round_reads_what_the_template_writes(
    tokenizer: Tokenizer, tools: bool, thinking: bool
) -> None:
    torch.manual_seed(4)
    model = DemoModel(TINY).eval()
    talk = make_talk(tools=tools, thinking=thinking)
    whole = encode_example(tokenizer, talk, most=10_000)
    logits = compute_logits(model, whole)
    for number in range(1, 5):
        messages = tuple(message for each in talk.rounds[:number] for message in each)
        alone = encode_alone(tokenizer, replace(talk, messages=messages))
        mine = (whole.branches == number) & (whole.targets != UNTRAINED)
        theirs = alone.targets != UNTRAINED
        np.testing.assert_array_equal(whole.targets[mine], alone.targets[theirs])
        torch.testing.assert_close(logits[mine], compute_logits(model, alone)[theirs], rtol=1e-4, atol=1e-4)


def test_a_long_talk_keeps_its_first_rounds_and_learns_the_last_of_them(tokenizer: Tokenizer) -> None:
    talk = make_talk(tools=False)
    whole = encode_example(tokenizer, talk, most=10_000)
    ends = [int(whole.positions[whole.branches == number].max()) + 1 for number in range(1, 5)]
    cut = encode_example(tokenizer, talk, most=ends[2])
    assert len(cut.tokens) <= ends[2]
    line = whole.tokens[whole.branches == 0]
    kept = cut.tokens[cut.branches == 0]
    np.testing.assert_array_equal(kept, line[: len(kept)])
    last = whole.tokens[whole.branches == 3]
    np.testing.assert_array_equal(cut.tokens[cut.branches == cut.branches.max()], last)


def test_a_first_round_stays_whatever_its_length(tokenizer: Tokenizer) -> None:
    example = encode_example(tokenizer, make_talk(tools=True), most=8)
    assert len(example.tokens) > 8
    assert set(example.branches) == {0, 1}


def test_training_fits_in_a_row_or_is_a_first_round(tokenizer: Tokenizer) -> None:
    for number in range(60):
        example = encode_example(tokenizer, make_training(0, number), most=2000)
        assert len(example.tokens) <= 2000
        assert (example.targets != UNTRAINED).any()
