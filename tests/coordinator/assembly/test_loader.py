"""Tokenizers as they are published: their classes, templates in two places, and what is said without one."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from jangtq_bundle.bundle import Bundle
from jangtq_coordinator.assembly.loader import read_tokenizer
from jangtq_coordinator.text.chat_template import ChatTemplate
from jangtq_coordinator.text.detokenizer import byte_level
from jangtq_proto.errors import BundleError

TEXT = "Hé <think>[e~["
TOKENS = [39, 127, 102, 220, 259, 258]
CLASSES = (
    "PreTrainedTokenizerFast",
    "PreTrainedTokenizer",
    "TokenizersBackend",
    "GPT2Tokenizer",
    "GPT2TokenizerFast",
    "Qwen2Tokenizer",
    "LlamaTokenizerFast",
    "MiniMaxM2Tokenizer",
)


def edit(folder: Path, *removed: str, **members: object) -> None:
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text()) | members
    path.write_text(json.dumps({name: value for name, value in config.items() if name not in removed}))


def write_vocabulary(folder: Path) -> None:
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")


def name_templates(folder: Path) -> None:
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    edit(folder, chat_template=[{"name": name, "template": template} for name in ("default", "tool_use")])


VARIANTS: Mapping[str, Callable[[Path], object]] = {
    "no class": lambda folder: edit(folder, "tokenizer_class"),
    "no tokenizer_config": lambda folder: (folder / "tokenizer_config.json").unlink(),
    "the vocabulary beside": write_vocabulary,
    "template in the configuration": lambda folder: (folder / "chat_template.jinja").unlink(),
    "template in its own file": lambda folder: edit(folder, "chat_template"),
    "templates by name": name_templates,
}


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_reads_the_same_file(name: str, bundle_copy: Path) -> None:
    edit(bundle_copy, tokenizer_class=name)
    check(bundle_copy)


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_of_a_tokenizer(variant: str, bundle_copy: Path) -> None:
    VARIANTS[variant](bundle_copy)
    check(bundle_copy)


def check(folder: Path) -> None:
    tokenizer = read_tokenizer(Bundle.open(folder))
    assert byte_level(tokenizer)
    assert tokenizer.encode(TEXT, add_special_tokens=False) == TOKENS
    assert tokenizer.eos_token_ids == {258}
    assert ChatTemplate(tokenizer, None).render([{"role": "user", "content": "Hi"}]).tokens


def test_a_missing_template_is_told_at_the_start(bundle_copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "jangtq.bundle"):
        read_tokenizer(Bundle.open(bundle_copy))
        assert not caplog.messages
        (bundle_copy / "chat_template.jinja").unlink()
        edit(bundle_copy, "chat_template")
        read_tokenizer(Bundle.open(bundle_copy))
    [message] = caplog.messages
    assert "has no chat template" in message and "completions work" in message


def test_a_missing_tokenizer_is_told(bundle_copy: Path) -> None:
    (bundle_copy / "tokenizer.json").unlink()
    with pytest.raises(BundleError, match=r"tokenizer\.json is missing"):
        read_tokenizer(Bundle.open(bundle_copy))
