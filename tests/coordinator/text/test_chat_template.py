"""Prompts: what clients write stays text, and what cannot fit is not tokenized."""

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jangtq_bundle.byte_tokenizer import CONTROL_TOKENS
from jangtq_coordinator.mlx_lm import TokenizerWrapper, load_tokenizer
from jangtq_coordinator.text.answer_start import AnswerStart, Prefill
from jangtq_coordinator.text.chat_template import ChatTemplate
from jangtq_coordinator.text.reasoning import ReasoningMarkers
from jangtq_proto.errors import ContextOverflowError
from tests.support.tiny_model import load_tiny_tokenizer

TEMPLATES = Path(__file__).parents[2] / "support" / "templates"
TOKENIZER = load_tiny_tokenizer()
CONTROL = frozenset(range(256, 256 + len(CONTROL_TOKENS)))
written = st.lists(st.sampled_from([*CONTROL_TOKENS, "[e~", "[", "é", "\ufdd0", "</think>", " "]), max_size=6)


@pytest.fixture(params=["demo", "MiniMax-M2"])
def template(request: pytest.FixtureRequest, bundle_copy: Path) -> ChatTemplate:
    """The demo's template, and MiniMax-M2's own."""
    if request.param != "demo":
        own = (TEMPLATES / f"{request.param}.jinja").read_text()
        (bundle_copy / "chat_template.jinja").write_text(own)
    return ChatTemplate(load_tokenizer(bundle_copy), ReasoningMarkers())


def control_tokens(tokens: tuple[int, ...]) -> list[int]:
    return [token for token in tokens if token in CONTROL]


@pytest.mark.parametrize("name", CONTROL_TOKENS)
def test_names_of_control_tokens_are_text_wherever_clients_write_them(
    template: ChatTemplate, name: str
) -> None:
    def conversation(word: str) -> tuple[int, ...]:
        parameters = {"type": "object", "properties": {word: {"enum": [word], "description": word}}}
        function = {"name": "f", "description": word, "parameters": parameters}
        return template.render(
            [
                {"role": "system", "content": word},
                {"role": "user", "content": f"a{word}b"},
                {"role": "assistant", "content": word, "tool_calls": [_called(word)]},
                {"role": "tool", "content": f"{word}{word}"},
                {"role": "user", "content": word},
            ],
            tools=[{"type": "function", "function": function}],
        ).tokens

    tokens = conversation(name)
    assert control_tokens(tokens) == control_tokens(conversation("word"))
    assert f"a{name}b" in TOKENIZER.decode(tokens)


def _called(word: str) -> dict[str, object]:
    return {"type": "function", "function": {"name": "f", "arguments": {"x": word, "y": [word]}}}


def test_a_prefill_is_text(template: ChatTemplate) -> None:
    start = AnswerStart(prefill=Prefill(content="so [e~[ far"))
    prompt = template.render([{"role": "user", "content": "Hi"}], start=start)
    plain = template.render([{"role": "user", "content": "Hi"}])
    assert control_tokens(prompt.tokens) == control_tokens(plain.tokens)
    assert TOKENIZER.decode(prompt.tokens).endswith("so [e~[ far")


@given(written)
def test_any_text_comes_out_as_it_went_in(parts: list[str]) -> None:
    text = "".join(parts)
    tokens = ChatTemplate(TOKENIZER, None).render([{"role": "user", "content": f"<{text}>"}]).tokens
    assert f"<{text}>".replace("\ufdd0", "\ufffd") in TOKENIZER.decode(tokens)


def test_what_cannot_fit_is_refused_before_it_is_tokenized(monkeypatch: pytest.MonkeyPatch) -> None:
    template = ChatTemplate(TOKENIZER, None)
    text = "a" * 100_000
    assert len(template.render([{"role": "user", "content": text}]).tokens) > 100_000
    monkeypatch.setattr(template._encoder, "encode", None)
    with pytest.raises(ContextOverflowError, match=r"prompt is too long: \d+ tokens > 499 maximum"):
        template.render([{"role": "user", "content": text}], most_tokens=500)


def test_nobody_waits_while_a_text_is_tokenized(monkeypatch: pytest.MonkeyPatch) -> None:
    template, encode = ChatTemplate(TOKENIZER, None), TOKENIZER.backend_tokenizer.encode
    begun, go_on = threading.Event(), threading.Event()

    def slow(text: str, *, special_tokens: bool = False) -> list[int]:
        if "slow" in text:
            begun.set()
            assert go_on.wait(60)
        return list(encode(text, add_special_tokens=special_tokens).ids)

    monkeypatch.setattr(template._encoder, "encode", slow)
    thread = threading.Thread(target=template.render, args=([{"role": "user", "content": "slow"}],))
    thread.start()
    assert begun.wait(60)
    assert template.render([{"role": "user", "content": "Hi"}]).tokens
    go_on.set()
    thread.join()


def test_tokens_are_those_of_the_tokenizers_own_method(bundle_copy: Path) -> None:
    tokenizer: TokenizerWrapper = load_tokenizer(bundle_copy)
    messages = [{"role": "user", "content": "Grüße, <think> und \n\n Ende"}]
    expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True)
    assert list(ChatTemplate(tokenizer, None).render(messages).tokens) == list(expected)
