"""What generation_config.json may say."""

import json
from pathlib import Path

import pytest

from jangtq_coordinator.engine.loaded_model import GenerationConfig, read_generation_config
from jangtq_coordinator.sampling.parameters import SamplingParameters
from jangtq_proto.errors import BundleError


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, GenerationConfig()),
        ({"do_sample": False, "top_k": 5}, GenerationConfig(SamplingParameters(temperature=0))),
        (
            {"temperature": 0.6, "top_p": 0.9, "top_k": 20, "eos_token_id": [3, 4]},
            GenerationConfig(SamplingParameters(0.6, 0.9, 20), frozenset({3, 4})),
        ),
        ({"eos_token_id": 7}, GenerationConfig(eos_token_ids=frozenset({7}))),
    ],
)
def test_generation_config(config: dict[str, object], expected: GenerationConfig, tmp_path: Path) -> None:
    assert read_generation_config(tmp_path) == GenerationConfig()
    (tmp_path / "generation_config.json").write_text(json.dumps(config))
    assert read_generation_config(tmp_path) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Expecting"),
        ("[]", "list"),
        ('{"temperature": "hot"}', "'hot'"),
        ('{"temperature": 9}', "9"),
        ('{"eos_token_id": "x"}', "'x'"),
    ],
)
def test_broken_generation_configs(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(BundleError, match=f"generation_config.json.*{words}"):
        read_generation_config(tmp_path)
