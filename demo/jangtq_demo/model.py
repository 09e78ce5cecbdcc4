"""MiniMax-M2 in PyTorch, with mlx-lm's tensor names. Knows no text and no quantization."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jangtq_demo.attention import Attention, KeyValueCache, RmsNorm, rotary_turns
from jangtq_demo.experts import MoeBlock
from jangtq_demo.settings import ModelSize


@dataclass(frozen=True)
class View:
    """Where positions stand and what they see.

    positions: int64 [batch, length]; mask: bool [batch, 1, length, keys], True where a position may look;
    active: flat indices of the positions that are no padding.
    """

    positions: Tensor
    mask: Tensor
    active: Tensor


class DecoderLayer(nn.Module):
    """Attention and experts, each on a normed residual stream."""

    def __init__(self, size: ModelSize) -> None:
        super().__init__()
        self.self_attn = Attention(size)
        self.block_sparse_moe = MoeBlock(size)
        self.input_layernorm = RmsNorm(size.hidden_size, size.rms_norm_eps)
        self.post_attention_layernorm = RmsNorm(size.hidden_size, size.rms_norm_eps)

    def forward(self, x: Tensor, turns: Tensor, *, view: View, cache: KeyValueCache | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), turns, mask=view.mask, cache=cache)
        result: Tensor = x + self.block_sparse_moe(self.post_attention_layernorm(x), view.active)
        return result


class Backbone(nn.Module):
    """Embedding, layers and the last norm."""

    def __init__(self, size: ModelSize) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(size.vocab_size, size.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(size) for _ in range(size.num_hidden_layers))
        self.norm = RmsNorm(size.hidden_size, size.rms_norm_eps)


class DemoModel(nn.Module):
    """The whole model. `state_dict()` has the names and shapes that a bundle is written from."""

    def __init__(self, size: ModelSize) -> None:
        super().__init__()
        self.size = size
        self.model = Backbone(size)
        self.lm_head = nn.Linear(size.hidden_size, size.vocab_size, bias=False)
        self._initialize()

    def forward(self, tokens: Tensor, view: View, *, caches: Sequence[KeyValueCache] | None = None) -> Tensor:
        """Hidden states [batch, length, hidden] after the last norm, of int64 tokens [batch, length]."""
        turns = rotary_turns(view.positions, self.size)
        x: Tensor = self.model.embed_tokens(tokens)
        for index, layer in enumerate(self.model.layers):
            x = layer(x, turns, view=view, cache=None if caches is None else caches[index])
        normed: Tensor = self.model.norm(x)
        return normed

    @property
    def moe_blocks(self) -> list[MoeBlock]:
        return [layer.block_sparse_moe for layer in self.model.layers if isinstance(layer, DecoderLayer)]

    def _initialize(self) -> None:
        """Normal weights of 1 / sqrt(inputs); what writes into the residual stream is damped by the depth."""
        damping = (2 * self.size.num_hidden_layers) ** -0.5
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                continue
            scale = 0.02 if "embed" in name else float(parameter.shape[-1] ** -0.5)
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                scale *= damping
            nn.init.normal_(parameter, std=scale)
        with torch.no_grad():
            self.lm_head.weight.mul_(0.5)


def parameter_count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
