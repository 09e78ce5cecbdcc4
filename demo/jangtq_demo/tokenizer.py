"""The demo tokenizer: byte-level BPE learned from the corpus, every digit a token. Knows no weights."""

import json
from collections.abc import Iterator, Mapping
from typing import Final

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from jangtq_bundle.byte_tokenizer import (
    BEGIN_OF_TEXT,
    CONTROL_TOKENS,
    END_OF_TURN,
    MARKUP_TOKENS,
    tokenizer_files,
)
from jangtq_demo.corpus.conversation import render
from jangtq_demo.corpus.mixture import make_conversation

VOCABULARY_SIZE: Final = 1152
SAMPLE: Final = 20_000
"""Training conversations that the shipped model's merges are learned from."""


def train_tokenizer(seed: int, *, vocabulary_size: int = VOCABULARY_SIZE, sample: int = SAMPLE) -> Tokenizer:
    """Merges of the first `sample` conversations; the special tokens come last. The same on every run."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - len(CONTROL_TOKENS) - len(MARKUP_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(seed, sample), trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in CONTROL_TOKENS])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in MARKUP_TOKENS])
    return tokenizer


def special_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token that must be there."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ValueError(f"the tokenizer has no token {token!r}")
    return found


def bundle_files(tokenizer: Tokenizer) -> Mapping[str, bytes]:
    """The tokenizer's files of a bundle: template and settings as in every demo bundle, greedy decoding."""
    generation = {
        "bos_token_id": special_id(tokenizer, BEGIN_OF_TEXT),
        "do_sample": False,
        "eos_token_id": special_id(tokenizer, END_OF_TURN),
    }
    return {
        **tokenizer_files(),
        "tokenizer.json": tokenizer.to_str().encode(),
        "generation_config.json": (json.dumps(generation, indent=2) + "\n").encode(),
    }


def _texts(seed: int, sample: int) -> Iterator[str]:
    """Texts without special tokens, which must not be merged into others."""
    for number in range(sample):
        text = "".join(segment.text for segment in render(make_conversation(seed, number)))
        for token in (*CONTROL_TOKENS, *MARKUP_TOKENS):
            text = text.replace(token, "\x00")
        yield from text.split("\x00")
