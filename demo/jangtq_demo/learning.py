"""One training step after another: loss, learning rate, balance of the experts. Prints and writes nothing."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from jangtq_demo.batches import Batch
from jangtq_demo.examples import UNTRAINED
from jangtq_demo.model import DemoModel
from jangtq_demo.quantizers import put_in_loop, take_out_of_loop
from jangtq_demo.settings import TrainingSettings

_BETAS = (0.9, 0.95)
_CLIP = 1.0


@dataclass(frozen=True)
class Progress:
    """After a step, counted from 1. `largest_load`: of the busiest expert of any layer, the mean being 1."""

    step: int
    tokens: int
    loss: float
    rate: float
    largest_load: float
    idle_experts: int


def rate_at(step: int, settings: TrainingSettings) -> float:
    """The learning rate of a step, counted from 0."""
    warmth = min(1.0, (step + 1) / settings.warmup_steps)
    if step >= settings.float_steps:
        left = settings.float_steps + settings.quantized_steps - step
        return warmth * settings.quantized_rate * left / settings.quantized_steps
    done = max(0, step - settings.warmup_steps) / max(1, settings.float_steps - settings.warmup_steps)
    share = settings.end_rate + (1 - settings.end_rate) * (1 + math.cos(math.pi * done)) / 2
    return warmth * settings.peak_rate * share


class Learner:
    """AdamW over masked next-token loss; the quantizer enters the loop after the float steps."""

    def __init__(self, model: DemoModel, settings: TrainingSettings) -> None:
        self._model = model
        self._settings = settings
        self._device = model.lm_head.weight.device
        matrices = [p for p in model.parameters() if p.ndim > 1]
        vectors = [p for p in model.parameters() if p.ndim == 1]
        groups = [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, betas=_BETAS, fused=self._device.type == "cuda")

    def run(self, batches: Iterable[Batch], *, report_every: int) -> Iterator[Progress]:
        """Learn from every batch in turn; yields every `report_every` steps, and where a phase ends."""
        settings, tokens, losses, loads = self._settings, 0, [], []
        ends = (settings.float_steps, settings.float_steps + settings.quantized_steps)
        self._model.train()
        for step, batch in enumerate(batches):
            if step == settings.float_steps:
                put_in_loop(self._model, settings.profile)
            rate = rate_at(step, settings)
            losses.append(self._step(batch.to(self._device), rate))
            loads.append(self._balance(rate))
            tokens += int((batch.documents > 0).sum())
            if (step + 1) % report_every == 0 or step + 1 in ends:
                yield _progress(step + 1, tokens, rate, losses=losses, loads=loads)
                losses, loads = [], []
        take_out_of_loop(self._model)

    def _step(self, batch: Batch, rate: float) -> Tensor:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = batch_loss(self._model, batch, mixed=self._device.type == "cuda")
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), _CLIP)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def _balance(self, rate: float) -> Tensor:
        """Loads of this step, [layers, experts]; the bias moves less as the learning rate falls."""
        blocks = self._model.moe_blocks
        loads = torch.stack([block.load for block in blocks])
        for block in blocks:
            block.balance(self._settings.bias_rate * min(1.0, rate / self._settings.quantized_rate))
        return loads


def batch_loss(model: DemoModel, batch: Batch, *, mixed: bool) -> Tensor:
    """Mean cross-entropy of the trained tokens; with `mixed` precision, products are taken in bfloat16."""
    with torch.autocast(batch.tokens.device.type, dtype=torch.bfloat16, enabled=mixed):
        hidden = model(batch.tokens, batch.view)
        chosen = (batch.targets != UNTRAINED).flatten().nonzero().squeeze(1)
        logits = model.lm_head(hidden.flatten(0, 1)[chosen])
    return functional.cross_entropy(logits.float(), batch.targets.flatten()[chosen])


def _progress(step: int, tokens: int, rate: float, *, losses: list[Tensor], loads: list[Tensor]) -> Progress:
    load = torch.stack(loads).sum(0)
    return Progress(
        step=step,
        tokens=tokens,
        loss=float(torch.stack(losses).mean()),
        rate=rate,
        largest_load=float((load / load.float().mean(1, keepdim=True)).max()),
        idle_experts=int((load == 0).sum()),
    )
