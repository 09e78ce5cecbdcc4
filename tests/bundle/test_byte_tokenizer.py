"""The demo bundle's tokenizer and chat template, as mlx-lm loads them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from jangtq_bundle.byte_tokenizer import CONTROL_TOKENS, MARKUP_TOKENS, VOCABULARY_SIZE, tokenizer_files
from jangtq_coordinator.mlx_lm import TokenizerWrapper, load_tokenizer

RAW = Tokenizer.from_str(tokenizer_files()["tokenizer.json"].decode())
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hé?"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TokenizerWrapper:
    path: Path = tmp_path_factory.mktemp("tokenizer")
    for name, content in tokenizer_files().items():
        (path / name).write_bytes(content)
    return load_tokenizer(path)


def render(tokenizer: TokenizerWrapper, messages: Sequence[Mapping[str, object]], **options: object) -> str:
    apply: Callable[..., object] = tokenizer.apply_chat_template
    text = apply(messages, tokenize=False, **options)
    assert isinstance(text, str)
    return text


def test_mlx_lm_finds_the_markers(tokenizer: TokenizerWrapper) -> None:
    assert tokenizer.has_thinking and tokenizer.has_tool_calling
    assert tokenizer.eos_token == "[e~["
    assert len(tokenizer.get_vocab()) == VOCABULARY_SIZE


@given(st.text(max_size=40))
def test_any_text_survives_the_round_trip(text: str) -> None:
    assert RAW.decode(RAW.encode(text).ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("token", CONTROL_TOKENS + MARKUP_TOKENS)
def test_special_tokens_are_single(token: str) -> None:
    assert len(RAW.encode(f"a{token}b").ids) == 3


def test_markup_is_text_and_control_is_not() -> None:
    ids = RAW.encode("<think>x</think>[e~[").ids
    assert RAW.decode(ids) == "<think>x</think>"


def test_generation_prompt_opens_thinking_unless_switched_off(tokenizer: TokenizerWrapper) -> None:
    start = "]~!b[]~b]system\nBe brief.[e~[\n]~b]user\nHé?[e~[\n]~b]ai\n"
    assert render(tokenizer, [SYSTEM, USER], add_generation_prompt=True) == start + "<think>\n"
    quiet = render(tokenizer, [SYSTEM, USER], add_generation_prompt=True, enable_thinking=False)
    assert quiet == start


def test_tools_and_their_results(tokenizer: TokenizerWrapper) -> None:
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Köln", "days": 2}}}
    turns: list[Mapping[str, object]] = [
        USER,
        {"role": "assistant", "content": "", "reasoning_content": "ask", "tool_calls": [call]},
        {"role": "tool", "content": "rain"},
        {"role": "tool", "content": [{"type": "text", "text": "sun"}]},
    ]
    text = render(tokenizer, turns, tools=TOOLS)
    assert '<tools>\n<tool>{"name": "weather", "parameters": {"type": "object"}}</tool>\n</tools>' in text
    assert (
        "]~b]ai\n<think>\nask\n</think>\n\n\n<minimax:tool_call>\n"
        '<invoke name="weather">\n<parameter name="city">Köln</parameter>\n'
        '<parameter name="days">2</parameter>\n</invoke>\n</minimax:tool_call>[e~[\n'
        "]~b]tool\n<response>rain</response>\n<response>sun</response>[e~[\n"
    ) in text


def test_reasoning_is_dropped_once_the_user_speaks_again(tokenizer: TokenizerWrapper) -> None:
    answer = {"role": "assistant", "content": "<think>\nwhy\n</think>\n\nSo."}
    assert "]~b]ai\nSo.[e~[" in render(tokenizer, [USER, answer, USER])
    assert "]~b]ai\n<think>\nwhy\n</think>\n\nSo.[e~[" in render(tokenizer, [USER, answer])
