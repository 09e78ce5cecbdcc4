"""A tiny model trains in seconds: its loss falls, its steps repeat, and a bundle comes out that opens."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.directory import SIDECAR_FILE
from jangtq_demo.batches import UNTRAINED, Batches
from jangtq_demo.checkpoint import load_checkpoint
from jangtq_demo.export import export
from jangtq_demo.formats import FORMATS, apply_format
from jangtq_demo.learning import rate_at
from jangtq_demo.measure import measure
from jangtq_demo.model import DemoModel
from jangtq_demo.settings import TINY, TrainingSettings
from jangtq_demo.tokenizer import train_tokenizer
from jangtq_demo.train import load_batches, main, train

SETTINGS = TrainingSettings(rows=2, float_steps=30, quantized_steps=10, warmup_steps=5)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(0, vocabulary_size=TINY.vocab_size, sample=1000)


@pytest.fixture(scope="module")
def trained(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("training")
    torch.manual_seed(0)
    model = DemoModel(TINY)
    train(
        directory, model, SETTINGS, tokenizer=tokenizer, batches=load_batches(tokenizer, SETTINGS, workers=0)
    )
    return directory


def test_the_loss_falls_and_no_number_is_lost(trained: Path) -> None:
    lines = (trained / "loss.csv").read_text(encoding="utf-8").splitlines()
    losses = [float(line.split(",")[3]) for line in lines[1:]]
    assert [int(line.split(",")[0]) for line in lines[1:]] == [20, 30, 40]
    assert losses[1] < losses[0] - 0.5


def test_both_checkpoints_load_and_differ(trained: Path) -> None:
    before, after = load_checkpoint(trained / "float"), load_checkpoint(trained / "quantized")
    assert before.size == after.size == TINY
    name = "model.layers.0.block_sparse_moe.switch_mlp.up_proj.weight"
    assert not np.array_equal(before.tensors[name], after.tensors[name])


def test_a_checkpoint_becomes_a_bundle_of_the_measured_size(trained: Path, tmp_path: Path) -> None:
    export(trained / "quantized", tmp_path / "bundle", profile="JANGTQ_K")
    config = Bundle.open(tmp_path / "bundle").config
    assert (config.profile, config.expert_count) == ("JANGTQ_K", 32)
    stored = apply_format(load_checkpoint(trained / "quantized").build(CPU), FORMATS["JANGTQ_K"])
    shards = [f for f in (tmp_path / "bundle").glob("*.safetensors") if f.name != SIDECAR_FILE]
    # The writer pads 16 experts to 32; the rest of the difference is the file's header.
    assert stored < sum(file.stat().st_size for file in shards)


def test_a_checkpoint_is_measured_in_any_format(trained: Path) -> None:
    result = measure(load_checkpoint(trained / "quantized"), FORMATS["affine2"], device=CPU, share=0.002)
    perplexity, loads = result["perplexity"], result["loads"]
    assert isinstance(perplexity, float) and 1 < perplexity < TINY.vocab_size
    assert isinstance(loads, list) and [len(load) for load in loads] == [TINY.num_local_experts] * 2


def test_training_goes_on_from_a_checkpoint_by_command(trained: Path, tmp_path: Path) -> None:
    steps = ["--rows", "1", "--float-steps", "0", "--quantized-steps", "2", "--device", "cpu"]
    assert main([str(tmp_path), "--resume", str(trained / "quantized"), *steps]) == 0
    assert load_checkpoint(tmp_path / "quantized").size == TINY


def test_a_batch_is_the_same_whenever_it_is_made(tokenizer: Tokenizer) -> None:
    batches = Batches(tokenizer.to_str(), SETTINGS, count=3)
    first, again = batches[2], Batches(tokenizer.to_str(), SETTINGS, count=3)[2]
    assert torch.equal(first.tokens, again.tokens)
    assert not torch.equal(first.tokens, batches[1].tokens)
    with pytest.raises(IndexError, match="batch 3: allowed are 0 to 2"):
        batches[3]


def test_targets_are_the_next_tokens_of_the_same_conversation(tokenizer: Tokenizer) -> None:
    batch = Batches(tokenizer.to_str(), SETTINGS, count=1)[0]
    inside = (batch.targets[:, :-1] != UNTRAINED) & (batch.documents[:, :-1] == batch.documents[:, 1:])
    assert torch.equal(batch.targets[:, :-1][inside], batch.tokens[:, 1:][inside])
    assert inside.sum() > 100
    assert not (batch.targets[batch.documents == 0] != UNTRAINED).any()


def test_tokenizers_of_one_seed_are_equal(tokenizer: Tokenizer) -> None:
    again = train_tokenizer(0, vocabulary_size=TINY.vocab_size, sample=1000)
    assert again.to_str() == tokenizer.to_str()


def test_the_bias_evens_out_the_load() -> None:
    torch.manual_seed(1)
    model = DemoModel(TINY).eval()
    block = model.moe_blocks[0]
    rows = torch.randn(1, 512, TINY.hidden_size) + 1
    active = torch.arange(512)
    spreads = []
    for _ in range(300):
        block(rows, active)
        spreads.append(float(block.load.float().std()))
        block.balance(5e-3)
    assert spreads[-1] < 0.3 * spreads[0]


def test_rates_rise_and_fall() -> None:
    settings = TrainingSettings(float_steps=100, quantized_steps=50, warmup_steps=10)
    rates = [rate_at(step, settings) for step in range(150)]
    assert rates[0] == pytest.approx(settings.peak_rate / 10)
    assert max(rates) == pytest.approx(settings.peak_rate)
    assert rates[99] < 0.06 * settings.peak_rate
    assert rates[100] == pytest.approx(settings.quantized_rate)
    assert 0 < rates[149] <= settings.quantized_rate / 50


def test_settings_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="rows 0: allowed are 1 or more"):
        TrainingSettings(rows=0)
    with pytest.raises(ValueError, match="float_steps -1: allowed are 0 or more"):
        TrainingSettings(float_steps=-1)
