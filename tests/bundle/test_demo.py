"""The demo bundle is small, sound and the same on every run."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.demo import main


def digests(path: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in path.iterdir()}


def test_it_has_the_architecture_of_the_real_model(demo_bundle: Path) -> None:
    config = Bundle.open(demo_bundle).config
    assert (config.expert_count, config.original_expert_count, config.experts_per_token) == (256, 256, 8)
    assert config.attention.rotary_size < config.attention.head_size
    assert config.attention.key_value_head_count < config.attention.head_count
    assert sum(file.stat().st_size for file in demo_bundle.iterdir()) < 16_000_000


def test_two_runs_give_the_same_bytes(
    demo_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "again")]) == 0
    assert "demo bundle written to" in capsys.readouterr().out
    assert digests(tmp_path / "again") == digests(demo_bundle)
    assert Bundle.open(tmp_path / "again").fingerprint == Bundle.open(demo_bundle).fingerprint


def test_experts_differ_from_each_other(demo_bundle: Path) -> None:
    weights = Bundle.open(demo_bundle).read_experts(2, (0, 1, 255))
    assert not np.array_equal(weights.gate.codes[0], weights.gate.codes[1])
    assert weights.down.norms.min() > 0


def test_a_taken_directory_is_refused(demo_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = digests(demo_bundle)
    assert main([str(demo_bundle)]) == 1
    assert "already there" in capsys.readouterr().err
    assert digests(demo_bundle) == before
