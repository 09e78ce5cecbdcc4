"""The bundle that ships in the package: small, of the architecture it shows, and good at a few questions."""

import json
from pathlib import Path

import pytest

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.models import demo_model
from jangtq_demo import evaluate
from tests.support.forks import processes

MOST_BYTES = 12_000_000


def test_the_whole_folder_is_at_most_12_megabytes() -> None:
    sizes = {file.name: file.stat().st_size for file in demo_model().iterdir()}
    assert sum(sizes.values()) <= MOST_BYTES, sizes


def test_it_has_256_experts_of_which_a_token_asks_8() -> None:
    config = Bundle.open(demo_model()).config
    assert (config.profile, config.expert_count, config.experts_per_token) == ("JANGTQ2", 256, 8)


def test_a_cluster_with_it_reaches_the_goals_at_a_few_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `make eval` does, with one held-out question in 250."""
    monkeypatch.setattr(evaluate, "Children", processes)
    out = tmp_path / "scores.json"
    assert evaluate.main(["--share", "0.004", "--out", str(out)]) == 0
    scores = json.loads(out.read_text(encoding="utf-8"))
    assert evaluate.GOALS.keys() <= scores.keys()
    assert scores["tool results: reasoning not sent back"] == [2, 2]
