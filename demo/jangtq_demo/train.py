"""`python -m jangtq_demo.train DIR`: trains the demo model; one command, one seed, CPU or one GPU."""

import argparse
import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Final

import torch
from tokenizers import Tokenizer
from torch.utils.data import DataLoader

from jangtq_demo.batches import Batch, Batches
from jangtq_demo.checkpoint import load_checkpoint, save_checkpoint
from jangtq_demo.learning import Learner, Progress
from jangtq_demo.model import DemoModel, parameter_count
from jangtq_demo.settings import TINY, ModelSize, TrainingSettings
from jangtq_demo.tokenizer import SAMPLE, train_tokenizer

_REPORT_EVERY: Final = 20
_MOST_WORKERS: Final = 8
_CURVE_HEADER: Final = "step,seconds,tokens,loss,rate,largest_load,idle_experts\n"


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    size = TINY if given.tiny else ModelSize()
    settings = TrainingSettings(
        seed=given.seed,
        row_length=given.row_length,
        rows=given.rows,
        float_steps=given.float_steps,
        quantized_steps=given.quantized_steps,
        warmup_steps=given.warmup_steps,
        quantized_rate=given.quantized_rate,
        bias_rate=given.bias_rate,
    )
    torch.manual_seed(settings.seed)
    device = torch.device(given.device)
    if given.resume is None:
        model = DemoModel(size).to(device)
        print("learning the tokenizer", flush=True)
        tokenizer = train_tokenizer(
            settings.seed, vocabulary_size=size.vocab_size, sample=given.tokenizer_sample
        )
    else:
        checkpoint = load_checkpoint(given.resume)
        model, tokenizer = checkpoint.build(device), checkpoint.tokenizer
    print(
        f"{parameter_count(model):,} parameters on {given.device}: {json.dumps(asdict(settings))}", flush=True
    )
    batches = load_batches(tokenizer, settings, workers=given.workers)
    train(given.directory, model, settings, tokenizer=tokenizer, batches=batches)
    return 0


def train(
    directory: Path,
    model: DemoModel,
    settings: TrainingSettings,
    *,
    tokenizer: Tokenizer,
    batches: Iterable[Batch],
) -> None:
    """Write the checkpoints `float` and, after the steps with the quantizer, `quantized`, and `loss.csv`."""
    directory.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with (directory / "loss.csv").open("w", encoding="utf-8") as curve:
        curve.write(_CURVE_HEADER)
        for progress in Learner(model, settings).run(batches, report_every=_REPORT_EVERY):
            curve.write(_curve_line(progress, time.monotonic() - started))
            curve.flush()
            print(_report(progress, settings, time.monotonic() - started), flush=True)
            if progress.step == settings.float_steps:
                save_checkpoint(directory / "float", model, tokenizer)
    if settings.quantized_steps:
        save_checkpoint(directory / "quantized", model, tokenizer)


def load_batches(tokenizer: Tokenizer, settings: TrainingSettings, *, workers: int) -> Iterable[Batch]:
    """All batches of a training in order, made by so many processes, or by this one."""
    count = settings.float_steps + settings.quantized_steps
    dataset = Batches(tokenizer.to_str(), settings, count=count)
    ahead = 8 if workers else None
    return DataLoader(dataset, batch_size=None, num_workers=workers, prefetch_factor=ahead)


def _curve_line(progress: Progress, seconds: float) -> str:
    return (
        f"{progress.step},{seconds:.1f},{progress.tokens},{progress.loss:.5f},{progress.rate:.6f},"
        f"{progress.largest_load:.2f},{progress.idle_experts}\n"
    )


def _report(progress: Progress, settings: TrainingSettings, seconds: float) -> str:
    phase = "float" if progress.step <= settings.float_steps else settings.profile
    steps = settings.float_steps + settings.quantized_steps
    left = timedelta(seconds=round(seconds / progress.step * (steps - progress.step)))
    return (
        f"{phase} step {progress.step}/{steps}  "
        f"loss {progress.loss:.4f}  rate {progress.rate:.1e}  {progress.tokens / seconds:,.0f} tokens/s  "
        f"busiest expert {progress.largest_load:.2f}  idle {progress.idle_experts}  "
        f"{timedelta(seconds=round(seconds))} gone, about {left} left"
    )


def _parser() -> argparse.ArgumentParser:
    defaults = TrainingSettings()
    parser = argparse.ArgumentParser(prog="python -m jangtq_demo.train", description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR", help="where checkpoints and the curve go")
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cpu, cuda, or cuda:N; the GPU where there is one",
    )
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--rows", type=int, default=defaults.rows, help="rows in a batch")
    parser.add_argument("--row-length", type=int, default=defaults.row_length, help="tokens in a row")
    parser.add_argument("--float-steps", type=int, default=defaults.float_steps)
    parser.add_argument("--quantized-steps", type=int, default=defaults.quantized_steps)
    parser.add_argument("--warmup-steps", type=int, default=defaults.warmup_steps)
    parser.add_argument("--quantized-rate", type=float, default=defaults.quantized_rate)
    parser.add_argument(
        "--bias-rate", type=float, default=defaults.bias_rate, help="how fast the experts' loads even out"
    )
    parser.add_argument("--resume", type=Path, help="begin with the weights of this checkpoint")
    parser.add_argument(
        "--tokenizer-sample", type=int, default=SAMPLE, help="conversations that the tokenizer learns from"
    )
    parser.add_argument(
        "--workers", type=int, default=_default_workers(), help="processes that make batches, 0: none"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="a model that trains in seconds and learns little"
    )
    return parser


def _default_workers() -> int:
    """Half of the cores, and no more than keep a GPU busy."""
    return min(_MOST_WORKERS, (os.cpu_count() or 1) // 2)


if __name__ == "__main__":
    raise SystemExit(main())
