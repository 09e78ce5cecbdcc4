"""A tiny model trains in seconds by the real command, its steps repeat, and the product serves it."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.directory import SIDECAR_FILE
from jangtq_coordinator.cli.demo.processes import Children
from jangtq_coordinator.cli.demo.run import start_cluster
from jangtq_demo.batches import Batches, pack
from jangtq_demo.checkpoint import load_checkpoint
from jangtq_demo.corpus.conversation import Conversation, Message
from jangtq_demo.examples import UNTRAINED, Example
from jangtq_demo.export import export
from jangtq_demo.export import main as export_command
from jangtq_demo.formats import FORMATS, apply_format
from jangtq_demo.learning import rate_at
from jangtq_demo.measure import measure, question_prompt
from jangtq_demo.model import DemoModel
from jangtq_demo.settings import TINY, TrainingSettings
from jangtq_demo.tokenizer import train_tokenizer
from jangtq_demo.train import main

SETTINGS = TrainingSettings(row_length=1024, rows=2, float_steps=30, quantized_steps=10, warmup_steps=5)
ALWAYS = (
    "--tiny",
    "--row-length",
    "1024",
    "--device",
    "cpu",
    "--workers",
    "0",
    "--tokenizer-sample",
    "500",
    "--warmup-steps",
    "5",
)
EVENING = ("--bias-rate", "0.03")
"""So few steps even out the experts' loads only at a faster rate than the shipped model's."""
# More threads only wait for each other beside other tests' processes.
torch.set_num_threads(1)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(0, vocabulary_size=TINY.vocab_size, sample=500)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `python -m jangtq_demo.train` leaves; its output lies in `printed`."""
    directory = tmp_path_factory.mktemp("training") / "run"
    command = [sys.executable, "-W", "error", "-m", "jangtq_demo.train", str(directory), *ALWAYS]
    steps = ["--rows", "2", "--float-steps", "30", "--quantized-steps", "10", *EVENING]
    run = subprocess.run(
        command + steps, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert run.returncode == 0, run.stderr
    (directory / "printed").write_text(run.stdout, encoding="utf-8")
    return directory


def test_the_loss_falls_and_no_expert_dies(trained: Path) -> None:
    with (trained / "loss.csv").open(encoding="utf-8", newline="") as file:
        curve = list(csv.DictReader(file))
    assert [int(point["step"]) for point in curve] == [20, 30, 40]
    losses = [float(point["loss"]) for point in curve]
    assert losses[1] < losses[0] - 0.5
    assert losses[2] < losses[0] - 0.5
    assert int(curve[-1]["idle_experts"]) == 0
    assert float(curve[-1]["largest_load"]) < 4


def test_the_command_tells_how_far_it_is(trained: Path) -> None:
    first, *_, last = [
        line for line in (trained / "printed").read_text(encoding="utf-8").splitlines() if " step " in line
    ]
    assert first.startswith("float step 20/40  loss ") and " left" in first
    assert last.startswith("JANGTQ2 step 40/40  loss ") and last.endswith("about 0:00:00 left")


def test_a_seed_decides_the_whole_training(tmp_path: Path) -> None:
    steps = ["--rows", "1", "--float-steps", "2", "--quantized-steps", "1"]
    runs = [
        load_run(tmp_path / name, *steps, "--seed", seed) for name, seed in zip("abc", "112", strict=True)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def load_run(directory: Path, *options: str) -> dict[str, bytes]:
    """The bytes of every tensor after a training."""
    assert main([str(directory), *ALWAYS, *options]) == 0
    tensors = load_checkpoint(directory / "quantized").tensors
    return {name: tensor.tobytes() for name, tensor in tensors.items()}


def test_the_product_answers_as_the_trained_model_does(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "tiny"
    assert export_command([str(trained / "quantized"), str(bundle), "--profile", "JANGTQ2"]) == 0
    assert "JANGTQ2 bundle of " in capsys.readouterr().out
    messages = [{"role": "user", "content": "What is 12 + 7?"}]
    prompt = question_prompt(Conversation((Message("user", messages[0]["content"]),)))
    with Children() as children:
        base_url = start_cluster(children, bundle, threads=1)
        completion = ask(base_url, "completions", prompt=prompt, logprobs=5)
        chat = ask(base_url, "chat/completions", messages=messages)
    assert chat["message"]["reasoning_content"] == completion["text"] != ""
    expected = first_logprobs(trained / "quantized", prompt)
    for token, logprob in completion["logprobs"]["top_logprobs"][0].items():
        assert logprob == pytest.approx(expected[token], abs=0.02)


def ask(base_url: str, endpoint: str, **fields: object) -> Any:
    """The first choice of a greedy answer of four tokens."""
    body = {"temperature": 0, "max_tokens": 4, **fields}
    response = httpx.post(f"{base_url}/v1/{endpoint}", json=body, timeout=120)
    return response.raise_for_status().json()["choices"][0]


def first_logprobs(checkpoint_path: Path, prompt: str) -> dict[str, float]:
    """Log-probabilities of the answer's first token by its text, of the checkpoint's JANGTQ2 in PyTorch."""
    checkpoint = load_checkpoint(checkpoint_path)
    model = checkpoint.build(CPU)
    apply_format(model, FORMATS["JANGTQ2"])
    tokens = np.array(checkpoint.tokenizer.encode(prompt, add_special_tokens=False).ids)
    batch = pack([[Example.of_line(tokens)]], len(tokens))
    with torch.inference_mode():
        logits = model.lm_head(model(batch.tokens, batch.view))[0, -1]
    texts = checkpoint.tokenizer.decode_batch([[n] for n in range(len(logits))], skip_special_tokens=False)
    return dict(zip(texts, logits.log_softmax(-1).tolist(), strict=True))


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
    steps = ["--rows", "1", "--float-steps", "0", "--quantized-steps", "2"]
    assert main([str(tmp_path), *ALWAYS, "--resume", str(trained / "quantized"), *steps]) == 0
    before, after = load_checkpoint(trained / "quantized"), load_checkpoint(tmp_path / "quantized")
    assert after.size == TINY
    name = "model.embed_tokens.weight"
    moved = np.abs(after.tensors[name].astype(np.float32) - before.tensors[name]).max()
    assert 0 < moved < 0.1


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
    inside &= batch.branches[:, :-1] == batch.branches[:, 1:]
    assert torch.equal(batch.targets[:, :-1][inside], batch.tokens[:, 1:][inside])
    assert inside.sum() > 100
    assert not (batch.targets[batch.documents == 0] != UNTRAINED).any()


def test_tokenizers_of_one_seed_are_equal(tokenizer: Tokenizer) -> None:
    again = train_tokenizer(0, vocabulary_size=TINY.vocab_size, sample=500)
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
