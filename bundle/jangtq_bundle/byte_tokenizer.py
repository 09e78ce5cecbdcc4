"""A byte-level tokenizer with MiniMax's special tokens, as the files of a bundle. Knows no weights."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

BEGIN_OF_TEXT: Final = "]~!b["
ROLE: Final = "]~b]"
END_OF_TURN: Final = "[e~["

CONTROL_TOKENS: Final = (BEGIN_OF_TEXT, ROLE, END_OF_TURN)
MARKUP_TOKENS: Final = ("<think>", "</think>", "<minimax:tool_call>", "</minimax:tool_call>")
"""Single tokens like the control tokens, but part of the text that a reader sees."""

VOCABULARY_SIZE: Final = 256 + len(CONTROL_TOKENS) + len(MARKUP_TOKENS)


def token_id(token: str) -> int:
    """The id of a special token; bytes take 0-255."""
    return 256 + (*CONTROL_TOKENS, *MARKUP_TOKENS).index(token)


def tokenizer_files() -> Mapping[str, bytes]:
    """tokenizer.json, tokenizer_config.json, chat_template.jinja and generation_config.json."""
    template = files("jangtq_bundle").joinpath("chat_template.jinja").read_text(encoding="utf-8")
    return {
        "tokenizer.json": _build().to_str(pretty=True).encode(),
        "tokenizer_config.json": _json(_tokenizer_config(template)),
        "chat_template.jinja": template.encode(),
        "generation_config.json": _json(_generation_config()),
    }


def _build() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={byte: i for i, byte in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in CONTROL_TOKENS]
    )
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in MARKUP_TOKENS])
    return tokenizer


def _tokenizer_config(template: str) -> Mapping[str, object]:
    return {
        "add_prefix_space": False,
        "bos_token": BEGIN_OF_TEXT,
        "chat_template": template,
        "clean_up_tokenization_spaces": False,
        "eos_token": END_OF_TURN,
        "model_max_length": 1_000_000,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def _generation_config() -> Mapping[str, object]:
    """The sampling that the MiniMax-M2 card recommends."""
    return {
        "bos_token_id": token_id(BEGIN_OF_TEXT),
        "do_sample": True,
        "eos_token_id": token_id(END_OF_TURN),
        "temperature": 1.0,
        "top_k": 40,
        "top_p": 0.95,
    }


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
