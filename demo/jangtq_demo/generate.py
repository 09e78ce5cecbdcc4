"""Greedy answers of the PyTorch model to many prompts at once. Knows no scoring."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from jangtq_demo.attention import KeyValueCache
from jangtq_demo.model import DemoModel, View

_PADDING: Final = 0


@torch.inference_mode()
def generate(
    model: DemoModel, prompts: Sequence[Sequence[int]], *, stop: int, most_tokens: int
) -> list[list[int]]:
    """The likeliest tokens after each prompt, without the stop token; at most `most_tokens` each."""
    device = model.lm_head.weight.device
    tokens, present = _pad_left(prompts, device)
    caches = [KeyValueCache() for _ in range(model.size.num_hidden_layers)]
    positions = (present.cumsum(1) - 1).clamp_min(0)
    length = tokens.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    own = torch.eye(length, dtype=torch.bool, device=device)
    mask = (causal & present[:, None, :] | own)[:, None]
    view = View(positions, mask, present.flatten().nonzero().squeeze(1))
    running = torch.ones(len(prompts), dtype=torch.bool, device=device)
    written: list[Tensor] = []
    for _ in range(most_tokens):
        hidden = model(tokens, view, caches=caches)[:, -1]
        chosen = model.lm_head(hidden).float().argmax(-1)
        running &= chosen != stop
        written.append(torch.where(running, chosen, -1))
        if not running.any():
            break
        present = torch.cat([present, torch.ones_like(present[:, :1])], dim=1)
        positions = positions[:, -1:] + 1
        tokens = chosen[:, None]
        view = View(positions, present[:, None, None, :], running.nonzero().squeeze(1))
    answers: list[list[int]] = torch.stack(written, dim=1).tolist()
    return [[token for token in answer if token >= 0] for answer in answers]


def _pad_left(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens int64 [prompts, longest], and which of them are there."""
    longest = max(map(len, prompts))
    padded = [[_PADDING] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    present = [[False] * (longest - len(prompt)) + [True] * len(prompt) for prompt in prompts]
    return torch.tensor(padded, device=device), torch.tensor(present, device=device)
